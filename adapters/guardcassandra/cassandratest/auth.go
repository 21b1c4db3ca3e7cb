package cassandratest

import "maps"

// SetPasswords makes the server ask new connections for a name and password,
// which must be among the given ones; who has another is answered
// [CodeBadCredentials]. A nil map lets everybody in, as it is at first.
func (s *Server) SetPasswords(byName map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passwords = maps.Clone(byName)
}

func (s *Server) authenticates() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passwords != nil
}

func (s *Server) admits(name, password string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passwords == nil {
		return true
	}
	want, ok := s.passwords[name]
	return ok && want == password
}
