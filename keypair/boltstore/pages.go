package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// pages are those of a bbolt file, format version 2, up to the last that is in use:
//
//	page     id u64, flags u16, count u16, overflow u32 (pages that follow and belong to it)
//	branch   count elements: position u32, key size u32, page id u64; then the keys
//	leaf     count elements: flags u32, position u32, key size u32, value size u32; then keys and values
//	bucket   as a value: root page id u64, sequence u64; with root 0 a page follows, within the value
//	freelist count page ids; with count 0xffff their number comes first
//	meta     magic u32, version u32, page size u32, flags u32, bucket, freelist page id u64, …
//
// A position counts from its element. Numbers are the machine's own. bbolt has a check too, but one that
// follows what it checks, in a goroutine where a fault ends the program.
type pages struct {
	file []byte
	size uint64 // of a page, in bytes
	seen map[uint64]bool

	floor  []byte // what the next key must not be below
	strict bool   // nor equal to
}

const (
	headerSize  = 16 // of a page, and of a bucket
	elementSize = 16

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketElement = 0x01
)

var number = binary.NativeEndian

// checkPages follows all that the transaction's file refers to. Every page has to be of its kind, used once and
// in the file, with its keys in order, or else free.
func checkPages(file []byte, tx *bbolt.Tx) (err error) {
	defer func() {
		if cause := recover(); cause != nil { // a position out of its page
			err = fmt.Errorf("%v", cause)
		}
	}()
	p := &pages{file: file[:tx.Size()], size: uint64(tx.DB().Info().PageSize), seen: map[uint64]bool{0: true, 1: true}}
	meta := p.file[uint64(tx.ID()%2)*p.size+headerSize:] // the two take turns
	if err := p.bucket(meta[16:]); err != nil {
		return err
	}
	return p.freelist(number.Uint64(meta[32:]))
}

// take returns a page and those that belong to it.
func (p *pages) take(id uint64) ([]byte, error) {
	count := uint64(len(p.file)) / p.size
	if id >= count {
		return nil, fmt.Errorf("page %d is not there", id)
	}
	page := p.file[id*p.size:]
	end := id + 1 + uint64(number.Uint32(page[12:]))
	if end > count || number.Uint64(page) != id {
		return nil, fmt.Errorf("page %d is not what it should be", id)
	}
	for one := id; one < end; one++ {
		if err := p.use(one); err != nil {
			return nil, err
		}
	}
	return page[:(end-id)*p.size], nil
}

func (p *pages) use(id uint64) error {
	if p.seen[id] {
		return fmt.Errorf("page %d is used twice", id)
	}
	p.seen[id] = true
	return nil
}

// bucket checks a bucket's tree, which has an order of its own.
func (p *pages) bucket(value []byte) error {
	floor, strict := p.floor, p.strict
	defer func() { p.floor, p.strict = floor, strict }()
	p.floor, p.strict = nil, false
	if root := number.Uint64(value); root != 0 {
		return p.child(root)
	}
	return p.tree(value[headerSize:])
}

func (p *pages) child(id uint64) error {
	page, err := p.take(id)
	if err != nil {
		return err
	}
	return p.tree(page)
}

func (p *pages) tree(page []byte) error {
	flags, count := number.Uint16(page[8:]), int(number.Uint16(page[10:]))
	check := p.leaf
	switch {
	case flags == branchPage && count > 0:
		check = p.branch
	case flags != leafPage:
		return fmt.Errorf("page %d is not of a tree", number.Uint64(page))
	}
	for i := range count {
		if err := check(page[headerSize+i*elementSize:]); err != nil {
			return err
		}
	}
	return nil
}

// branch checks an element of a branch page, and what is below it.
func (p *pages) branch(element []byte) error {
	begin, size := uint64(number.Uint32(element)), uint64(number.Uint32(element[4:]))
	if err := p.rise(element[begin:begin+size], false); err != nil {
		return err
	}
	return p.child(number.Uint64(element[8:]))
}

// leaf checks an element of a leaf page.
func (p *pages) leaf(element []byte) error {
	begin, size := uint64(number.Uint32(element[4:])), uint64(number.Uint32(element[8:]))
	value := element[begin+size : begin+size+uint64(number.Uint32(element[12:]))]
	if err := p.rise(element[begin:begin+size], true); err != nil {
		return err
	}
	if number.Uint32(element)&bucketElement == 0 {
		return nil
	}
	return p.bucket(value)
}

var errOrder = errors.New("keys are out of order")

// rise holds the next key to the order. A branch's key is the least that may be below it.
func (p *pages) rise(key []byte, leaf bool) error {
	order := bytes.Compare(key, p.floor)
	if order < 0 || order == 0 && p.strict {
		return errOrder
	}
	p.floor, p.strict = key, leaf
	return nil
}

// freelist checks that what counts as free is not in use: it will be written over.
func (p *pages) freelist(id uint64) error {
	page, err := p.take(id)
	if err != nil {
		return err
	}
	if number.Uint16(page[8:]) != freelistPage {
		return fmt.Errorf("page %d is not the list of free pages", id)
	}
	ids, count := page[headerSize:], uint64(number.Uint16(page[10:]))
	if count == 0xffff {
		ids, count = ids[8:], number.Uint64(ids)
	}
	for ; count > 0; count, ids = count-1, ids[8:] {
		if err := p.free(number.Uint64(ids)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) free(id uint64) error {
	if id >= uint64(len(p.file))/p.size {
		return fmt.Errorf("page %d is not there", id)
	}
	return p.use(id)
}
