package keypair

import "context"

// Store keeps a region: values under keys, changed in transactions. Package storetest checks
// that an implementation does what is said here. Keys are UTF-8, 1 to 1024 bytes; they sort by
// their bytes.
type Store interface {
	// View must call read once with what was committed at one moment.
	View(ctx context.Context, read func(Tx) error) error

	// Update must commit all that change did, durably, before it returns nil; or nothing of
	// it where change returned an error, which Update returns as it is, where change panicked, or
	// where the context was over before the commit. Updates are serializable. change may be called again
	// with a newer state, so it must do nothing but compute.
	Update(ctx context.Context, change func(Tx) error) error

	// Watch must call changed after every commit that changed anything, with the keys that were put or
	// deleted, commits in their order and one call at a time: before the Update that made the commit
	// returns, if it was made by this process. changed may View but not Update. After stop has returned
	// no call is under way and none follows; changed does not call stop.
	Watch(changed func(keys []string)) (stop func())

	// Close waits for transactions under way. The other methods return an error after it.
	Close() error
}

// Tx is a Store within a transaction. It is used by one goroutine and not after the
// transaction; values it returns are the caller's to keep, but not to change.
type Tx interface {
	// Get must return nil, without an error, where nothing is under the key.
	Get(key string) ([]byte, error)
	// Put and Delete must fail in a View. Deleting what is not there is no error. Put must refuse what is
	// no key, and take a copy of value.
	Put(key string, value []byte) error
	Delete(key string) error
	// Scan must call visit for every key that begins with prefix, in order, the changes of this
	// transaction included, and return visit's error, which ends it. visit makes no changes.
	Scan(prefix string, visit func(key string, value []byte) error) error
}
