package manage

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// maxBody is more than any request needs, in bytes.
const maxBody = 64 << 10

// status is the body of a request for another status of an instance.
type status struct {
	Status keypair.Status `json:"status"`
}

// misbehaviour is the body of a request for one.
type misbehaviour struct {
	Kind string   `json:"kind"`
	On   []string `json:"on,omitempty"` // parts of paths; empty for all paths
}

// accessKey is the body of requests for access keys.
type accessKey struct {
	Comment  string `json:"comment,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
}

// failure is the body of an answer that is none.
type failure struct {
	Error string `json:"error"`
}

// server answers for one region.
type server struct {
	region   *keypair.Region
	metadata *imds.Service
}

// NewHandler returns the management of a region and of its metadata endpoint. Each change is one line of
// the log: what was asked for, and its end.
func NewHandler(region *keypair.Region, metadata *imds.Service, log *slog.Logger) http.Handler {
	s := &server{region, metadata}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /instances":                   s.listInstances,
		"POST /instances":                  s.register,
		"PUT /instances/{id}":              s.change,
		"DELETE /instances/{id}":           s.remove,
		"PUT /instances/{id}/status":       s.setStatus,
		"PUT /instances/{id}/misbehaviour": s.misbehave,
		"GET /access-keys":                 s.listAccessKeys,
		"POST /access-keys":                s.createAccessKey,
		"PUT /access-keys/{id}":            s.enableAccessKey,
		"DELETE /access-keys/{id}":         s.deleteAccessKey,
		"GET /resource-groups":             s.listGroups,
		"POST /resource-groups":            s.addGroup,
		"DELETE /resource-groups/{id}":     s.removeGroup,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			result, err := answer(r)
			reply(w, result, err)
			if r.Method != http.MethodGet {
				log.Info("management", "method", r.Method, "path", r.URL.Path, "error", err)
			}
		})
	}
	return mux
}

func reply(w http.ResponseWriter, result any, err error) {
	code := http.StatusOK
	if err != nil {
		code, result = statusOf(err), failure{err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(result) // an error means that the client is gone
}

// errBody is a request that cannot be understood.
var errBody = errors.New("request")

// statusOf is the answer's status: what the caller cannot mend is 500.
func statusOf(err error) int {
	switch {
	case errors.Is(err, keypair.ErrInstanceNotFound), errors.Is(err, keypair.ErrAccessKeyNotFound),
		errors.Is(err, keypair.ErrResourceGroupNotFound):
		return http.StatusNotFound
	case errors.Is(err, keypair.ErrInstanceExists), errors.Is(err, keypair.ErrResourceGroupUsed), errors.Is(err, keypair.ErrWindows):
		return http.StatusConflict
	case errors.Is(err, keypair.ErrInstanceInvalid), errors.Is(err, keypair.ErrResourceGroup),
		errors.Is(err, keypair.ErrComment), errors.Is(err, errBody):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// read takes the request's body for a T, with nothing that T does not have.
func read[T any](r *http.Request) (T, error) {
	var value T
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		return value, fmt.Errorf("%w: %w", errBody, err)
	}
	return value, nil
}

// none is the answer that says nothing but that it was done.
type none struct{}

// Instance is one as it is listed.
type Instance struct {
	keypair.Instance
	Misbehaviour imds.Misbehaviour `json:"misbehaviour,omitempty"` // empty where its metadata endpoint does as it should
}

func (s *server) listInstances(r *http.Request) (any, error) {
	known, err := s.region.Instances(r.Context(), keypair.InstanceFilter{})
	listed := make([]Instance, len(known))
	for i, instance := range known {
		listed[i].Instance = instance
		if endpoint := s.metadata.Endpoint(instance.ID); endpoint != nil && endpoint.Misbehaviour() != imds.None {
			listed[i].Misbehaviour = endpoint.Misbehaviour()
		}
	}
	return listed, err
}

func (s *server) change(r *http.Request) (any, error) {
	instance, err := read[keypair.Instance](r)
	if err != nil {
		return nil, err
	}
	if instance.ID != r.PathValue("id") {
		return nil, fmt.Errorf("%w: an instance keeps its id", errBody)
	}
	return s.region.Change(r.Context(), instance)
}

func (s *server) register(r *http.Request) (any, error) {
	instance, err := read[keypair.Instance](r)
	if err != nil {
		return nil, err
	}
	return s.region.Register(r.Context(), instance)
}

func (s *server) remove(r *http.Request) (any, error) {
	return none{}, s.region.Remove(r.Context(), r.PathValue("id"))
}

func (s *server) setStatus(r *http.Request) (any, error) {
	body, err := read[status](r)
	if err != nil {
		return nil, err
	}
	return none{}, s.region.SetStatus(r.Context(), r.PathValue("id"), body.Status)
}

func (s *server) misbehave(r *http.Request) (any, error) {
	body, err := read[misbehaviour](r)
	if err != nil {
		return nil, err
	}
	kind, err := imds.ParseMisbehaviour(body.Kind)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	endpoint := s.metadata.Endpoint(r.PathValue("id"))
	if endpoint == nil {
		return nil, keypair.ErrInstanceNotFound
	}
	endpoint.Misbehave(kind, body.On...)
	return none{}, nil
}

func (s *server) listAccessKeys(r *http.Request) (any, error) {
	return s.region.AccessKeys(r.Context())
}

func (s *server) createAccessKey(r *http.Request) (any, error) {
	body, err := read[accessKey](r)
	if err != nil {
		return nil, err
	}
	return s.region.CreateAccessKey(r.Context(), body.Comment)
}

func (s *server) enableAccessKey(r *http.Request) (any, error) {
	body, err := read[accessKey](r)
	if err != nil {
		return nil, err
	}
	return none{}, s.region.EnableAccessKey(r.Context(), r.PathValue("id"), !body.Disabled)
}

func (s *server) deleteAccessKey(r *http.Request) (any, error) {
	return none{}, s.region.DeleteAccessKey(r.Context(), r.PathValue("id"))
}

func (s *server) listGroups(r *http.Request) (any, error) {
	return s.region.ResourceGroups(r.Context())
}

func (s *server) addGroup(r *http.Request) (any, error) {
	group, err := read[keypair.ResourceGroup](r)
	if err != nil {
		return nil, err
	}
	return group, s.region.AddResourceGroup(r.Context(), group)
}

func (s *server) removeGroup(r *http.Request) (any, error) {
	return none{}, s.region.RemoveResourceGroup(r.Context(), r.PathValue("id"))
}
