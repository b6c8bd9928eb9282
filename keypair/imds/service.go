package imds

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"sync"
)

// What Service.Set refuses.
var (
	ErrNoID         = errors.New("an instance needs an id")
	ErrAddressTaken = errors.New("the address is another instance's")
)

// Options are a Service's.
type Options struct {
	// WatchersPerInstance is how many watches of one instance are held; the next is
	// answered 503. 0 is DefaultWatchers.
	WatchersPerInstance int
}

// Service is the endpoint of many instances. As an http.Handler it answers for the instance
// that has the address the request comes from, and 404 to all others. What a header says of
// addresses (X-Forwarded-For) does not count. All its methods may be called at the same time.
type Service struct {
	hangups hangups
	limit   int

	mu      sync.RWMutex
	members map[string]member // by instance id
	sources map[netip.Addr]*Endpoint
	closed  bool
}

// member is an instance of a Service.
type member struct {
	endpoint  *Endpoint
	addresses []netip.Addr // by which it is in sources
}

// NewService returns a Service without instances.
func NewService(o Options) *Service {
	if o.WatchersPerInstance == 0 {
		o.WatchersPerInstance = DefaultWatchers
	}
	return &Service{limit: o.WatchersPerInstance, members: map[string]member{}, sources: map[netip.Addr]*Endpoint{}}
}

// Set adds the instance, or replaces all that is told about it. The error is ErrNoID or
// ErrAddressTaken, or says which address is none; then nothing has changed.
func (s *Service) Set(instance Instance) error {
	if instance.ID == "" {
		return ErrNoID
	}
	addresses, err := instance.sources()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.members[instance.ID]
	if err := s.available(addresses, was.endpoint, instance.ID); err != nil {
		return err
	}
	endpoint := was.endpoint
	if endpoint == nil {
		endpoint = s.newEndpoint(instance)
	} else {
		endpoint.Set(instance)
	}
	s.forget(was.addresses)
	for _, address := range addresses {
		s.sources[address] = endpoint
	}
	s.members[instance.ID] = member{endpoint, addresses}
	return nil
}

// available tells which of the addresses is known as another instance's than that of mine.
func (s *Service) available(addresses []netip.Addr, mine *Endpoint, id string) error {
	for _, address := range addresses {
		if other := s.sources[address]; other != nil && other != mine {
			return fmt.Errorf("%s for %s: %w: %s", address, id, ErrAddressTaken, other.Instance().ID)
		}
	}
	return nil
}

func (s *Service) newEndpoint(instance Instance) *Endpoint {
	e := newEndpoint(instance, &s.hangups, s.limit)
	e.closed = s.closed
	return e
}

func (s *Service) forget(addresses []netip.Addr) {
	for _, address := range addresses {
		delete(s.sources, address)
	}
}

// Remove takes the instance away: all its requests, also those held, are answered 404.
func (s *Service) Remove(id string) {
	s.mu.Lock()
	was, known := s.members[id]
	delete(s.members, id)
	s.forget(was.addresses)
	s.mu.Unlock()
	if known {
		was.endpoint.change(func(s *state) { s.gone, s.fault = true, fault{} })
	}
}

// Endpoint returns the instance's own endpoint, to have it misbehave, or nil where there is
// none. Once the instance was removed, that endpoint answers 404 for ever.
func (s *Service) Endpoint(id string) *Endpoint {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.members[id].endpoint
}

// For returns the handler of a listener that is one instance's alone: whoever asks there is
// that instance. While there is no instance of that id it answers 404.
func (s *Service) For(id string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(s.Endpoint(id), w, r)
	})
}

// ServeHTTP answers for the instance that the request comes from.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve(s.from(r.RemoteAddr), w, r)
}

// from returns the endpoint of the instance at "address:port", or nil.
func (s *Service) from(remote string) *Endpoint {
	source, err := netip.ParseAddrPort(remote)
	if err != nil {
		return nil // not of IP
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sources[source.Addr().Unmap()]
}

func serve(e *Endpoint, w http.ResponseWriter, r *http.Request) {
	switch {
	case e != nil:
		e.ServeHTTP(w, r)
	case r.ContentLength != 0:
		refuseBody(w)
	default:
		reply(w, http.StatusNotFound, "Not Found")
	}
}

// Close hangs up on all watches and holds none any more; further ones are answered 503. All
// else is answered as before. It is to be called before http.Server.Shutdown, which would
// wait for watches over TLS and does not know of the others.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	members := maps.Clone(s.members)
	s.mu.Unlock()
	for _, m := range members {
		m.endpoint.end()
	}
}
