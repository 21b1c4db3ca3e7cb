// Package dashboard shows live what a guard does: whether it refuses, whom and
// why, and which dependency is at fault. It is one page, embedded, that asks
// nothing of any other host, and reads [guard.Guard.Snapshot] once a second: the
// requests pay nothing for it.
//
//	dash := dashboard.New(g)
//	defer dash.Close()
//	mux.Handle("GET /debug/guard/", dash)
//
// # Mounting
//
// A [Dashboard] answers the same at every path, so any prefix does, with or without
// [http.StripPrefix]. What it is comes in the query: ?format=json is the Snapshot,
// for scripts; ?format=stream and ?format=poll are for the page. It only reads:
// anything but GET and HEAD is answered with 405.
//
// Behind the guard itself it works, but is limited and measured with everything
// else: in an overload it may be refused just when it is wanted, and a stream
// counts as a request that lasts for hours. Beside the guard it is neither; on a
// listener of its own it does not even need a place among the public connections:
//
//	http.ListenAndServe(addr, dash.Mount("/debug/guard/", g.Mux(mux)))
//	http.ListenAndServe("127.0.0.1:6060", dash)
//
// The stream goes through the guard's wrapping, and any other that has Unwrap, and
// has a deadline for each write, so that the WriteTimeout of the server does not
// end it. Where there is no streaming the page polls. When
// [guard.Guard.Shutdown] begins to refuse, streams end within a second, so they do
// not hold it up; [http.Server.Shutdown] alone would wait for them, unless
// [Dashboard.Close] comes first.
//
// # Security
//
// By default the machine it runs on sees it alone. A request must come from a
// loopback address; its Host must be localhost or a loopback address, so that a
// name that was made to point here (DNS rebinding) does not do; and it must bear no
// trace of a proxy, which would come from loopback for anybody: no Forwarded,
// X-Forwarded-*, X-Real-IP, Via, CF-Connecting-IP or their like, whatever their
// value, and no HTTP/1.0. A proxy on the same machine that speaks HTTP/1.1, adds
// no header and rewrites Host cannot be told from a browser: where there is one,
// have a listener of its own, or [Authorize]. A middleware that rewrites RemoteAddr
// must not be in front. From elsewhere, ssh -L 8080:localhost:8080 does.
//
// [Authorize] puts the user's own decision in place of all this. In both cases
// what another site has a browser ask is refused (Sec-Fetch-Site, Origin). The
// Content-Security-Policy allows the page its own script and style sheet, nothing
// inline, no other host, no framing, and no text that becomes markup. Names of
// routes and dependencies are put in as text. No text of an error is shown, but its
// class, and no client's address or key.
//
// # Memory
//
// The last five minutes are kept, a sample a second, in arrays of a fixed size:
// about 15 KiB for the server, 8 KiB for each route, 10 KiB for each dependency
// (with the two histograms that recent latencies need), and the last 200 events.
// That is 1.5 MiB for 100 routes and 50 dependencies. More than 200 routes or 100
// dependencies have no history, but are shown: so 3 MiB is the most.
//
// Each sample makes garbage of about 3 KiB a route and a dependency, and 6 KiB
// while somebody watches. Then an update is encoded, once for all: 0.7 KiB for each
// of them, and 500 KiB once for the whole history of 100 routes and 50
// dependencies. At most 32 streams are served; more are refused with 503, and
// poll. One that is 8 updates behind, or does not take one in ten seconds, is
// dropped.
//
// # Concurrency
//
// [New] starts one goroutine, which ends with [Dashboard.Close]. A guard in a
// [testing/synctest] bubble can have a dashboard in the same bubble.
package dashboard
