package guard_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"example.com/guard"
)

// Visits are kept in a database/sql database. That there is no such row is an
// answer and no failure; everything else the driver says counts against it.
func Example_databaseSQL() {
	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	visits, _ := g.Dependency("visits", guard.DependencyConfig{
		Classify: func(err error) guard.Outcome {
			if errors.Is(err, sql.ErrNoRows) {
				return guard.OutcomeSucceeded // and the error comes back as it is
			}
			return guard.OutcomeDefault
		},
	})
	db := sql.OpenDB(table{"1": "/pricing"})
	defer db.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /visits/{id}", g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		page, err := guard.Call(r.Context(), visits, func(ctx context.Context) (page string, err error) {
			err = db.QueryRowContext(ctx, "SELECT page FROM visits WHERE id = ?", r.PathValue("id")).Scan(&page)
			return page, err
		})
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return guard.NotFound("There is no such visit.")
		case err != nil:
			return err // 502
		}
		_, err = fmt.Fprint(w, page)
		return err
	}))
	h := g.Mux(mux)
	for _, path := range []string{"/visits/1", "/visits/2", "/visits/broken"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(path, w.Code)
	}
	// Output:
	// /visits/1 200
	// /visits/2 404
	// /visits/broken 502
}

// table is a database of one table with two columns, and a driver for it.
type table map[string]string

func (t table) Connect(context.Context) (driver.Conn, error) { return t, nil }
func (t table) Driver() driver.Driver                        { return nil }
func (t table) Prepare(string) (driver.Stmt, error)          { return t, nil }
func (t table) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (t table) Close() error                                 { return nil }
func (t table) NumInput() int                                { return 1 }

func (t table) Exec([]driver.Value) (driver.Result, error) { return nil, errors.ErrUnsupported }

func (t table) Query(args []driver.Value) (driver.Rows, error) {
	id, _ := args[0].(string)
	if id == "broken" {
		return nil, errors.New("the disk is broken")
	}
	found := &rows{}
	if page, ok := t[id]; ok {
		found.pages = []string{page}
	}
	return found, nil
}

type rows struct{ pages []string }

func (r *rows) Columns() []string { return []string{"page"} }
func (r *rows) Close() error      { return nil }

func (r *rows) Next(to []driver.Value) error {
	if len(r.pages) == 0 {
		return io.EOF
	}
	to[0], r.pages = r.pages[0], r.pages[1:]
	return nil
}
