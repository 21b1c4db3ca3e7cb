package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"example.com/guard"
)

// A right is what an account may do with the administrative service.
type right int

const (
	none right = iota
	read
	change
)

// accounts are those of the administrative service, by Basic authentication.
type accounts struct {
	password [sha256.Size]byte
	rights   map[string]right
}

// newAccounts returns an account for each right, with one password for all, since
// this is an example.
func newAccounts(password string) accounts {
	return accounts{
		password: sha256.Sum256([]byte(password)),
		rights:   map[string]right{"agent": none, "viewer": read, "admin": change},
	}
}

const realm = "webengagement administration"

// authorize returns an error for who may not do what it takes the right for: 401
// if his credentials are wrong, or he may not use the service at all; 403 if he
// may, but not this.
func (a accounts) authorize(r *http.Request, need right) error {
	name, password, ok := r.BasicAuth()
	given := sha256.Sum256([]byte(password))
	same := subtle.ConstantTimeCompare(given[:], a.password[:]) == 1
	has, known := a.rights[name]
	switch {
	case !ok:
		return guard.Unauthorized(realm, "This service wants Basic authentication.")
	case !same || !known:
		return guard.Unauthorized(realm, "The user or the password is wrong.")
	case has == none:
		return guard.Unauthorized(realm, "This user may not use the administrative service.")
	case has < need:
		return guard.Forbidden("This user may read the limits, but not change them.")
	}
	return nil
}
