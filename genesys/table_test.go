package genesys_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
)

// The table of the package comment, word by word, for every status and code, and
// with it CheckResponse, which goes by the same.
func TestTheWholeTable(t *testing.T) {
	byTheStatus := func(status int) guard.Outcome {
		switch {
		case slices.Contains([]int{401, 408, 425}, status), status >= 500 && status != 501 && status != 505:
			return failed
		case status >= 400:
			return answered
		}
		return succeeded
	}
	table := func(p genesys.Product, status, code int) guard.Outcome {
		switch {
		case p == genesys.GWE && status == 403:
			return failed
		case p == genesys.GMS && status < 400 && code == 1:
			return failed
		case p == genesys.GMS && status < 400 && code == 2:
			return answered
		case p == genesys.GWS && status != 401 && (code == 4 || code == 20):
			return failed
		case p == genesys.GWS && status != 401 && code >= 1 && code <= 19 && code != 7 && code != 9:
			return answered
		}
		return byTheStatus(status)
	}
	for p := genesys.GWE; p <= genesys.Cloud; p++ {
		for status := 200; status < 600; status++ {
			for code := -1; code <= 25; code++ {
				body := fmt.Sprintf(`{"statusCode":%d}`, code)
				o := judge(p, answer(status, ""), body)
				if o == byStatus {
					require.NotEqual(t, 401, status, "to the transport that is no failure")
					o = byTheStatus(status)
				}
				want := table(p, status, code)
				require.Equal(t, want, o, "%v %d %s", p, status, body)
				require.Equal(t, want != succeeded, p.CheckResponse(nil, answer(status, body)) != nil, "%v %d %s", p, status, body)
			}
		}
	}
}
