module example.com/guard/examples/webengagement

go 1.25.0

require (
	example.com/guard v0.0.0
	example.com/guard/adapters/guardcassandra v0.0.0
	github.com/apache/cassandra-gocql-driver/v2 v2.1.2
	github.com/stretchr/testify v1.12.1
	golang.org/x/time v0.15.0
)

require (
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	gopkg.in/inf.v0 v0.9.1 // indirect
)

replace example.com/guard => ../..

replace example.com/guard/adapters/guardcassandra => ../../adapters/guardcassandra
