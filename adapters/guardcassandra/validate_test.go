package guardcassandra_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra"
)

func TestOpenRefuses(t *testing.T) {
	shared := gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy())
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("no certificate"), 0o600))
	for text, change := range map[string]func(*gocql.ClusterConfig){
		"Hosts is empty":                     func(c *gocql.ClusterConfig) { c.Hosts = nil },
		"Timeout is 0s":                      func(c *gocql.ClusterConfig) { c.Timeout = 0 },
		"Timeout is -1s":                     func(c *gocql.ClusterConfig) { c.Timeout = -time.Second },
		"ConnectTimeout is 0s":               func(c *gocql.ClusterConfig) { c.ConnectTimeout = 0 },
		"NumConns is 0":                      func(c *gocql.ClusterConfig) { c.NumConns = 0 },
		"NumConns is -1":                     func(c *gocql.ClusterConfig) { c.NumConns = -1 },
		"ConvictionPolicy is nil":            func(c *gocql.ClusterConfig) { c.ConvictionPolicy = nil },
		"ReconnectionPolicy is nil":          func(c *gocql.ClusterConfig) { c.ReconnectionPolicy = nil },
		"GetMaxRetries() is 0":               func(c *gocql.ClusterConfig) { c.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{} },
		"HostSelectionPolicy is the same":    func(c *gocql.ClusterConfig) { c.PoolConfig.HostSelectionPolicy = shared },
		"SslOpts.CaPath: open":               func(c *gocql.ClusterConfig) { c.SslOpts = &gocql.SslOptions{CaPath: noPEM + "x"} },
		"want a file with certificates":      func(c *gocql.ClusterConfig) { c.SslOpts = &gocql.SslOptions{CaPath: noPEM} },
		"SslOpts.CertPath and KeyPath":       func(c *gocql.ClusterConfig) { c.SslOpts = &gocql.SslOptions{KeyPath: noPEM} },
		"SerialConsistency is QUORUM":        func(c *gocql.ClusterConfig) { c.SerialConsistency = gocql.Quorum },
		"want none with the CacheMode":       func(c *gocql.ClusterConfig) { listen(c, gocql.Disabled) },
		"want that alone with the CacheMode": func(c *gocql.ClusterConfig) { listen(c, gocql.KeyspaceOnly) },
		"both Authenticator and AuthProvider": func(c *gocql.ClusterConfig) {
			c.Authenticator = gocql.PasswordAuthenticator{}
			c.AuthProvider = func(*gocql.HostInfo) (gocql.Authenticator, error) { return nil, errors.ErrUnsupported }
		},
	} {
		_, err := guardcassandra.Open(func() *gocql.ClusterConfig {
			c := gocql.NewCluster("127.0.0.1")
			change(c)
			return c
		}, guardcassandra.Options{})
		require.ErrorContains(t, err, text)
	}
	for text, o := range map[string]guardcassandra.Options{
		"guardcassandra: Backoff is -1s":                {Backoff: -time.Second},
		"MaxBackoff is -1s":                             {MaxBackoff: -time.Second},
		"CheckTimeout is -1s":                           {CheckTimeout: -time.Second},
		"MaxBackoff is 1s, less than the Backoff of 2s": {Backoff: 2 * time.Second, MaxBackoff: time.Second},
	} {
		_, err := guardcassandra.Open(func() *gocql.ClusterConfig { return gocql.NewCluster("127.0.0.1") }, o)
		require.ErrorContains(t, err, text)
	}
	_, err := guardcassandra.Open(nil, guardcassandra.Options{})
	require.ErrorContains(t, err, "nil function")
	_, err = guardcassandra.Open(func() *gocql.ClusterConfig { return nil }, guardcassandra.Options{})
	require.ErrorContains(t, err, "configuration is nil")
}

func listen(c *gocql.ClusterConfig, mode gocql.MetadataCacheMode) {
	c.Metadata.CacheMode = mode
	c.Metadata.SchemaListener.TableChangeListener = struct{ gocql.TableChangeListener }{}
}

// What the driver takes is taken.
func TestOpenTakes(t *testing.T) {
	session := open(t, func() *gocql.ClusterConfig {
		c := gocql.NewCluster("127.0.0.1")
		c.SerialConsistency = gocql.LocalSerial
		c.SslOpts = &gocql.SslOptions{Config: &tls.Config{}}
		c.PoolConfig.HostSelectionPolicy = gocql.RoundRobinHostPolicy()
		return c
	}, guardcassandra.Options{Backoff: 2 * time.Second}) // longer than the MaxBackoff otherwise is
	_, err := session.Session(t.Context(), nil)
	require.ErrorContains(t, err, "the dependency is nil")
}
