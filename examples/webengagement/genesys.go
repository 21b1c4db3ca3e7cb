package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"example.com/guard"
	"example.com/guard/genesys"
)

// contactCenter is the dependency that knows agents and queues: Genesys Web
// Services.
type contactCenter struct {
	base   string
	user   *url.Userinfo
	client *http.Client
	dep    *guard.Dependency
}

const (
	agentsPath = "/api/v2/users"
	queuesPath = "/api/v2/queues"
	maxAnswer  = 4 << 20 // bytes of an answer of Genesys
)

// openGenesys takes the URL of the environment, with the user and password in it
// if there are any.
func openGenesys(g *guard.Guard, address string, c guard.DependencyConfig) (*contactCenter, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" {
		return nil, errors.New("-genesys is not a URL such as https://user:password@gws.example.com") // it may have a password in it
	}
	base := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is documented to be one
	base.MaxIdleConnsPerHost = 100
	cc := &contactCenter{user: u.User, client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	u.User = nil
	cc.base = strings.TrimSuffix(u.String(), "/")
	probe := genesys.Probe{URL: u.JoinPath(queuesPath).String(), Transport: base}
	if cc.user != nil {
		probe.Username = cc.user.Username()
		probe.Password, _ = cc.user.Password()
	}
	if c.Check, err = genesys.GWS.Check(probe); err != nil {
		return nil, err
	}
	cc.dep, err = g.Dependency("genesys", genesys.GWS.Config(c))
	if err != nil {
		return nil, err
	}
	cc.client.Transport = cc.dep.Transport(base)
	return cc, nil
}

// get reads what Genesys has at a path.
func (cc *contactCenter) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*cc.dep.Config().Timeout) // the dependency's own is for the header
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, cc.base+path, http.NoBody)
	if err != nil {
		return err
	}
	if cc.user != nil {
		password, _ := cc.user.Password()
		r.SetBasicAuth(cc.user.Username(), password)
	}
	resp, err := cc.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := genesys.GWS.CheckResponse(cc.dep, resp); err != nil {
		return err
	}
	all, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return noSense(err) // the transport has counted it
	case len(all) > maxAnswer:
		return noSense(fmt.Errorf("%s is longer than %d bytes", path, maxAnswer))
	case resp.StatusCode != http.StatusOK:
		return noSense(fmt.Errorf("%s: status %d", path, resp.StatusCode))
	}
	if err := json.Unmarshal(all, into); err != nil {
		return noSense(err)
	}
	return nil
}

// noSense returns a 502 for an answer that is none.
func noSense(err error) error {
	return &guard.Error{
		Status: http.StatusBadGateway, Code: "dependency-failed", Detail: "A system that this server needs has given no answer of sense.", Err: err,
	}
}

// isUnknown reports whether Genesys knows nothing of that name.
func isUnknown(err error) bool {
	var e *genesys.Error
	return errors.As(err, &e) && e.NotFound()
}

// unknown returns a 404 in place of Genesys'.
func unknown(err error, detail string) error {
	if isUnknown(err) {
		return guard.NotFound(detail)
	}
	return err
}
