package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// types are those of the assets, by their extension. The system's table of types
// is not asked: it may say anything.
var types = map[string]string{ //nolint:gochecknoglobals // a constant
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// bundles are served as one: a page that loads a dozen parts would run into a limit
// per client that it is behind. The order of scripts is that of their use.
var bundles = map[string][]string{ //nolint:gochecknoglobals // a constant
	"page.css": {"style.css", "parts.css"},
	"page.js": {
		"format.js", "store.js", "chart.js", "verdict.js", "server.js", "dependencies.js", "routes.js", "events.js", "main.js",
	},
}

func readAsset(name string) (body []byte, err error) {
	parts, bundled := bundles[name]
	if !bundled {
		parts = []string{name}
	}
	for _, part := range parts {
		b, err := page.ReadFile("page/" + part) // which refuses a name with .. in it
		if err != nil {
			return nil, err
		}
		body = append(body, b...)
	}
	return body, nil
}

func serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	kind, known := types[path.Ext(name)]
	body, err := readAsset(name)
	if !known || err != nil {
		http.Error(w, "The dashboard has no such part.", http.StatusNotFound)
		return
	}
	sum := sha256.Sum256(body)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache") // ask each time, and get 304
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:16])+`"`)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}
