package keypair

import (
	"encoding/json"
	"fmt"
)

// The store's keys. Names and ids have no slash in them.
const (
	regionKey       = "region"     // the region's id
	pairPrefix      = "pair/"      // NAME: a KeyPair
	instancePrefix  = "instance/"  // ID: an Instance
	addressPrefix   = "address/"   // ADDRESS: the id of the instance that has it
	boundPrefix     = "bound/"     // NAME/ID: nothing; the instance is bound to the pair
	groupPrefix     = "group/"     // ID: a ResourceGroup
	accessKeyPrefix = "accesskey/" // ID: an AccessKey
	noncePrefix     = "nonce/"     // TIME/HASH: nothing; a nonce was used that counts until then
)

func boundKey(pair, instance string) string { return boundPrefix + pair + "/" + instance }

// put stores a record as JSON.
func put(tx Tx, key string, record any) error {
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("record %s: %w", key, err)
	}
	return tx.Put(key, value)
}

// get reads a record, or returns absent where there is none.
func get[T any](tx Tx, key string, absent error) (T, error) {
	var record T
	value, err := tx.Get(key)
	if err != nil {
		return record, err
	}
	if value == nil {
		return record, absent
	}
	return record, decode(key, value, &record)
}

// exists tells whether there is a record.
func exists(tx Tx, key string) (bool, error) {
	value, err := tx.Get(key)
	return value != nil, err
}

// list reads all records below a prefix, by their keys' order.
func list[T any](tx Tx, prefix string, keep func(T) bool) ([]T, error) {
	records := []T{}
	err := tx.Scan(prefix, func(key string, value []byte) error {
		var record T
		if err := decode(key, value, &record); err != nil {
			return err
		}
		if keep(record) {
			records = append(records, record)
		}
		return nil
	})
	return records, err
}

// decode does not quote what the record holds: it may be an access key.
func decode(key string, value []byte, record any) error {
	if err := json.Unmarshal(value, record); err != nil {
		return fmt.Errorf("record %s is damaged", key)
	}
	return nil
}
