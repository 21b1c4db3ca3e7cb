package main

import (
	"io"
	"strings"
)

// printUsage prints a shell script whose curl lines show each row of the contract.
func printUsage(out io.Writer, p *program) {
	text := strings.NewReplacer(
		"{API}", "http://"+p.apiAddr.String(), "{CTL}", "http://"+p.ctlAddr.String(),
		"{PASSWORD}", strings.ReplaceAll(p.config.password, "'", `'\''`), // it stands between two '
	).Replace(usage)
	if p.standIns.cassandra == nil || p.standIns.genesys == nil {
		text += "# A system that is a real one has no fault switches: stop it yourself.\n"
	}
	_, _ = io.WriteString(out, text) // to a terminal
}

const usage = `# The API is at {API}, health, metrics and fault switches at {CTL}.
# Each of these lines can be pasted into a shell. Add -H 'Accept: application/xml' or
# text/plain to see errors in other formats.

# 200: customer, visit, event, engagement
I=$(curl -s {API}/identities -H 'Content-Type: application/json' -d '{"email": "ann@example.com"}' | cut -d'"' -f4)
V=$(curl -s {API}/visits -H 'Content-Type: application/json' -d '{"identity": "'$I'", "page": "/pricing"}' | cut -d'"' -f4)
curl -i {API}/visits/$V
curl -i "{API}/visits?identity=$I"
curl -i {API}/visits/$V/events -H 'Content-Type: application/json' -d '{"type": "clicked", "page": "/pricing"}'
curl -i '{API}/agents?state=Ready'
curl -i {API}/engagements -H 'Content-Type: application/json' -d '{"visit": "'$V'", "queue": "q-sales"}'

# 204: nothing matches
curl -i '{API}/identities?email=nobody@example.com'

# 400: a parameter is missing, or of the wrong kind
curl -i {API}/identities
curl -i '{API}/visits?identity=me'

# 401: no credentials, or an account that this service is not for
curl -i {API}/admin/limits
curl -i -u 'agent:{PASSWORD}' {API}/admin/limits

# 403: a viewer may not change anything
curl -i -u 'viewer:{PASSWORD}' -X PUT {API}/admin/limits -H 'Content-Type: application/json' -d '{"rate": 5}'

# 404: no such visit, no such URI
curl -i {API}/visits/00000000-0000-4000-8000-000000000000
curl -i {API}/nothing

# 500: a panic, and an error that nobody expects
curl -i {API}/demo/panic
curl -i {API}/demo/error

# 502: a system is down (kinds: down, hang, slow with delay=1s, errors with code=,
# flapping with down=1s and up=1s, none); after some failures the answer comes at once
curl -X PUT '{CTL}/faults/cassandra?kind=down'
curl -s -o /dev/null -w '%{http_code}\n' "{API}/visits/$V#[1-20]" | sort | uniq -c
curl -i {API}/visits/$V
curl '{CTL}/readyz?verbose'
curl -s {CTL}/metrics | grep breaker_state
curl -X PUT '{CTL}/faults/cassandra?kind=none'
curl -X PUT '{CTL}/faults/genesys?kind=errors&code=503'
curl -i '{API}/agents?state=Ready'
curl -X PUT '{CTL}/faults/genesys?kind=none'

# 503: this client sends too many requests
curl -s -o /dev/null -w '%{http_code}\n' '{API}/version#[1-300]' | sort | uniq -c

# 503: all clients together do, since an administrator has set the limit to 1 a second
curl -i -u 'admin:{PASSWORD}' -X PUT {API}/admin/limits -H 'Content-Type: application/json' -d '{"rate": 1, "burst": 1}'
curl -i {API}/version; curl -i {API}/version
sleep 1; curl -i -u 'admin:{PASSWORD}' -X PUT {API}/admin/limits -H 'Content-Type: application/json' -d '{"rate": 2000, "burst": 500}'

# 503: the server is shutting down
curl -X POST {CTL}/drain; sleep 3; curl -i {API}/version
`
