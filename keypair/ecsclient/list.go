package ecsclient

import (
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
)

// maxHeld bounds what a list is to have in its texts, in bytes: 640 for each of MaxInstances.
const maxHeld = 64 << 20

// list is a Describe… action, whose answer comes in pages. How many there are is the service's word: the bounds are
// ours, so that no service can have us read, and keep, without end.
type list[T item] struct {
	action     string
	page, most int // items on a page, and on all pages together
}

// item is what is in a list.
type item interface {
	id() string
	size() int // bytes of its texts, about
}

// all yields what the pages hold, one after another, until an error, which comes last. fetch reads the page that the
// parameters name, and tells how many items there are on all pages.
func (l list[T]) all(parameters url.Values, fetch func(url.Values) (items []T, total int, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		parameters.Set("PageSize", strconv.Itoa(l.page))
		var before []T
		held := 0
		for number := 1; ; number++ {
			parameters.Set("PageNumber", strconv.Itoa(number))
			items, total, err := fetch(parameters)
			if err == nil {
				held += sizeOf(items)
				err = l.check(number, held, before, items)
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if len(items) == 0 || number*l.page >= total {
				return
			}
			before = items
		}
	}
}

func sizeOf[T item](items []T) int {
	size := 0
	for _, item := range items {
		size += item.size()
	}
	return size
}

// check tells what is wrong with a page, the one before it and what is held with it being known.
func (l list[T]) check(number, held int, before, items []T) error {
	same := func(a, b T) bool { return a.id() == b.id() }
	switch {
	case len(items) == 0:
		return nil
	case len(items) > l.page:
		return fmt.Errorf("%s: more on a page than was asked for: %d instead of %d", l.action, len(items), l.page)
	case number > l.most/l.page:
		return fmt.Errorf("%s: the service goes on after %d pages of %d: no more are read", l.action, number-1, l.page)
	case held > maxHeld:
		return fmt.Errorf("%s: more than %d MiB: no more is read", l.action, maxHeld>>20)
	case slices.EqualFunc(before, items, same):
		return fmt.Errorf("%s: the same page again: the service takes no page number", l.action)
	}
	return nil
}
