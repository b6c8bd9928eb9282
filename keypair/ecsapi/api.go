package ecsapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// Version is the version of ECS's API that is spoken here.
const Version = "2014-05-26"

// Options say how the API is served.
type Options struct {
	Log *slog.Logger // one line a request, and what went wrong inside; nil for none
}

// API is the ECS API of one region: an http.Handler for "/".
type API struct {
	region *keypair.Region
	log    *slog.Logger
	nonces nonces
}

// New returns the API of a region.
func New(region *keypair.Region, o Options) *API {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &API{region: region, log: o.Log, nonces: nonces{most: maxNonces}}
}

// ServeHTTP answers one request. What it logs of it is who asked for what, from where, and how it
// ended, never another parameter: there may be anything in those.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	q := &request{Request: r, id: newRequestID()}
	result, err := a.serve(r.Context(), q)
	logged := []any{"request_id", q.id, "peer", q.peer(), "action", q.asked(), "access_key_id", q.accessKey}
	if err != nil {
		e := a.sendError(w, q, err)
		logged = append(logged, "status", e.Status, "code", e.Code)
	} else {
		a.send(w, q, http.StatusOK, result)
		logged = append(logged, "status", http.StatusOK)
	}
	a.log.Info("api request", append(logged, "duration", time.Since(began))...)
}

func (a *API) serve(ctx context.Context, q *request) (answer, error) {
	if err := q.read(); err != nil {
		return nil, err
	}
	nonce, err := a.authenticate(ctx, q)
	if err != nil {
		return nil, err
	}
	asked, err := q.lookUp()
	if err != nil {
		return nil, err
	}
	do, err := a.understand(q, asked)
	if err != nil {
		return nil, err
	}
	if asked.changes {
		if err := a.region.UseNonce(ctx, q.accessKey, nonce.text, nonce.until); err != nil {
			return nil, err
		}
	}
	return do(ctx, a.region)
}

var errRegion = errors.New("another region")

// understand reads a request's arguments, and then whether they are for this region.
func (a *API) understand(q *request, asked action) (operation, error) {
	args := &arguments{parameters: q.parameters, host: q.Host}
	do := asked.read(args)
	region := args.text("RegionId")
	if region == "" && !asked.anyRegion {
		args.refuse(missingParameter("RegionId"))
	}
	if args.refused != nil {
		return nil, args.refused
	}
	if region != "" && region != a.region.ID() {
		return nil, errRegion
	}
	return do, nil
}

// newRequestID is an upper-case UUID (RFC 9562 section 5.4).
func newRequestID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
