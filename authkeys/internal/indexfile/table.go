package indexfile

import "cmp"

// The table's pages are of about 2 KiB: entries on the lowest level, and above it the
// first hash of each page of the level below.
const (
	entrySize   = 16
	hashSize    = 8
	leafEntries = 127
	innerHashes = 255
	maxPageSize = max(innerHashes*hashSize, leafEntries*entrySize) + sealSize
)

// An Entry files a record under a hash.
type Entry struct {
	Hash   uint64
	Offset int64
}

// Compare orders entries as they are in the table.
func (e Entry) Compare(other Entry) int {
	if e.Hash != other.Hash {
		return cmp.Compare(e.Hash, other.Hash)
	}
	return cmp.Compare(e.Offset, other.Offset)
}

// A level is a row of pages, all full but the last.
type level struct {
	offset   int64
	items    int64
	itemSize int
	perPage  int
}

// levels are those of the table from the bottom up, with one page on the last.
func (h Header) levels() []level {
	var all []level
	next := level{h.Table, h.Users + h.Lines, entrySize, leafEntries}
	for next.items > 0 {
		all = append(all, next)
		if next.pages() == 1 {
			break
		}
		next = level{next.end(), next.pages(), hashSize, innerHashes}
	}
	return all
}

func (l level) pages() int64 { return (l.items + int64(l.perPage) - 1) / int64(l.perPage) }

func (l level) end() int64 { return l.offset + l.items*int64(l.itemSize) + l.pages()*sealSize }

// page returns where a page is and how many items it has.
func (l level) page(number int64) (offset int64, items int) {
	first := number * int64(l.perPage)
	offset = l.offset + first*int64(l.itemSize) + number*sealSize
	return offset, int(min(int64(l.perPage), l.items-first))
}

// hashAt is the hash of an item of a page.
func (l level) hashAt(page []byte, item int) uint64 { return uint64At(page[item*l.itemSize:]) }

// before counts the items of a page whose hash is below this one.
func (l level) before(page []byte, hash uint64) int {
	low, high := 0, len(page)/l.itemSize
	for low < high {
		middle := (low + high) / 2
		if l.hashAt(page, middle) < hash {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
