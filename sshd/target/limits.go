package target

import "errors"

// maxStarting is how many connections may be on their way to a login at once.
const maxStarting = 100

// begin counts a connection that is on its way to a login, unless there are too many.
func (s *Server) begin(*connection) error {
	if s.starting.Add(1) > maxStarting {
		s.starting.Add(-1)
		return errors.New("MaxStartups: too many connections that have not logged in yet")
	}
	return nil
}

// finish is the end of what begin counted.
func (s *Server) finish(*connection) { s.starting.Add(-1) }
