// Package genesys says what the answers of Genesys products mean to a
// [guard.Dependency], asks the products for their health, and keeps the token
// that they want.
//
//	tokens, err := genesys.NewTokenTransport(genesys.TokenConfig{
//		Fetch: genesys.ClientCredentials{URL: "https://login.mypurecloud.com/oauth/token", ID: id, Secret: secret}.Fetch,
//	})
//	…
//	cloud, err := g.Dependency("genesys-cloud", genesys.Cloud.Config(guard.DependencyConfig{Timeout: 2 * time.Second}))
//	…
//	client := &http.Client{Transport: cloud.Transport(tokens)} // the token inside, the breaker outside
//	…
//	resp, err := client.Do(r)
//	if err != nil {
//		return err // 502, at once while the breaker is open
//	}
//	defer resp.Body.Close()
//	if err := genesys.Cloud.CheckResponse(cloud, resp); err != nil {
//		return err // 502; what Genesys said of it is in the log, and in no body
//	}
//
// # Why a package
//
// An HTTP status does not say all. Genesys Mobile Services report failures in
// answers of 200; Web Services have a table of codes of their own; Genesys Cloud
// slows its callers down with 429. Taken by their status alone, the first would
// never open a breaker, and the last would be called on all the same.
//
// # What an answer means
//
// Succeeded is what is neither of these:
//
//	product  failed                               answered (alive, but refused this)
//	GWE      401, 403, 408, 425, 5xx              other 4xx, 501, 505
//	GMS      401, 408, 425, 5xx; statusCode 1     other 4xx, 501, 505; statusCode 2
//	GWS      401, statusCode 4 and 20; without    statusCode 1-3, 5, 6, 8, 10-19; without
//	         a statusCode: 408, 425, 5xx          a statusCode: other 4xx, 501, 505
//	UCS, GRE 401, 408, 425, 5xx (503: the         other 4xx, 501, 505
//	         maintenance mode of UCS)
//	Cloud    401, 408, 425, 5xx                   other 4xx, 501, 505; 429 pauses the calls
//
// A 401 tells that the account of this server is refused, which is not what the
// user can put right: it becomes a 502, never a 401. An answer of 429 pauses the
// calls until its Retry-After, at most for MaxOpenFor, since some limits last for
// hours.
//
// A statusCode is looked for in the first 64 KiB of a body, at the top level of a
// JSON object, in any case and as a number or a string. The Content-Type matters
// only where it tells of a file, image/png or application/octet-stream for
// instance, or of an event stream, into which nobody looks. Where none is found the HTTP status decides: in bodies that are not JSON, or
// malformed, or cut off before it, and for codes that are not documented. That an
// answer is broken is for whoever decodes it to find out. A body in gzip or
// deflate is looked at decompressed, and 64 KiB of that at most; other encodings
// are not looked into.
//
// # Health
//
// [Product.Check] makes the Check of a [guard.DependencyConfig]. Call it once when
// the server starts: a wrong URL or password shows then, and not in the first
// outage.
//
// # Tokens
//
// A [TokenTransport] adds the token. It belongs inside the transport of the
// dependency. So a 401 after an expiry is put right within a call that succeeds,
// and a storm of them costs one new token and no outage; a token end-point that
// fails makes calls fail, which opens the breaker, which then spares it. Only the
// status 401 tells of an expiry: the statusCode 20 of GWS with another is a failure.
//
// # Concurrency
//
// Everything is safe for concurrent use. Only a TokenTransport starts goroutines:
// one for each fetch of a token, which ends with that.
package genesys
