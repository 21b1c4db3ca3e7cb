package cassandratest_test

import (
	"errors"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

func Example() {
	server, err := cassandratest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	const statement = "SELECT name FROM visit WHERE id = ?"
	server.Handle(statement, func(q *cassandratest.Request) cassandratest.Response {
		return cassandratest.Rows{
			Columns: []cassandratest.Column{{Name: "name", Type: cassandratest.Text}},
			Values:  [][]any{{"visit " + q.Values[0].Text()}},
		}
	}, cassandratest.Text)

	cluster := gocql.NewCluster(server.Addr())
	cluster.ProtoVersion = 4
	cluster.Metadata.CacheMode = gocql.Disabled
	session, err := cluster.CreateSession()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()

	var name string
	err = session.Query(statement, "7").Scan(&name)
	fmt.Println(name, err)

	server.SetFault(cassandratest.Errors(&cassandratest.Error{
		Code:     cassandratest.CodeUnavailable,
		Message:  "Cannot achieve consistency level QUORUM",
		Required: 2,
		Alive:    1,
	}, ""))
	err = session.Query(statement, "7").Scan(&name)
	var unavailable *gocql.RequestErrUnavailable
	if errors.As(err, &unavailable) {
		fmt.Println(unavailable.Required, unavailable.Alive, unavailable.Message())
	}
	// Output:
	// visit 7 <nil>
	// 2 1 Cannot achieve consistency level QUORUM
}
