package guardcassandra

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"reflect"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// validate checks what the function returns, once and for all.
func validate(cluster func() *gocql.ClusterConfig) error {
	first, second := cluster(), cluster()
	for _, c := range []*gocql.ClusterConfig{first, second} {
		if err := validateCluster(c); err != nil {
			return err
		}
	}
	if p := first.PoolConfig.HostSelectionPolicy; p != nil && same(p, second.PoolConfig.HostSelectionPolicy) {
		return errors.New("guardcassandra: PoolConfig.HostSelectionPolicy is the same each time, want a new one for each attempt to connect")
	}
	return nil
}

// same reports whether two policies are the same object.
func same(a, b gocql.HostSelectionPolicy) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	return va.Kind() == reflect.Pointer && vb.Kind() == reflect.Pointer && va.Pointer() == vb.Pointer() &&
		va.Type().Elem().Size() > 0 // two of size 0 may have one address
}

// validateCluster refuses what the driver refuses itself, since there it would
// look like an outage, and leave goroutines behind with each attempt; and what
// the driver takes, to hang or panic with it later in a goroutine of its own.
func validateCluster(c *gocql.ClusterConfig) error {
	switch {
	case c == nil:
		return errors.New("guardcassandra: the cluster's configuration is nil")
	case len(c.Hosts) == 0:
		return fmt.Errorf("guardcassandra: Hosts is empty: %w", gocql.ErrNoHosts)
	case c.Timeout <= 0:
		return fmt.Errorf("guardcassandra: Timeout is %v, want > 0: a node that hangs would be waited for without end", c.Timeout)
	case c.ConnectTimeout <= 0:
		return fmt.Errorf("guardcassandra: ConnectTimeout is %v, want > 0: a node that hangs would be waited for without end", c.ConnectTimeout)
	case c.NumConns < 1:
		return fmt.Errorf("guardcassandra: NumConns is %d, want >= 1: the driver would connect, and never have a connection to use", c.NumConns)
	case c.ConvictionPolicy == nil:
		return errors.New("guardcassandra: ConvictionPolicy is nil, which panics when a node fails; gocql.NewCluster sets one")
	case c.ReconnectionPolicy == nil:
		return errors.New("guardcassandra: ReconnectionPolicy is nil, which panics when a connection is made; gocql.NewCluster sets one")
	case c.ReconnectionPolicy.GetMaxRetries() < 1:
		return fmt.Errorf("guardcassandra: ReconnectionPolicy.GetMaxRetries() is %d, want >= 1: "+
			"the driver would not try even once, and go on with a nil connection", c.ReconnectionPolicy.GetMaxRetries())
	case c.Authenticator != nil && c.AuthProvider != nil:
		return errors.New("guardcassandra: both Authenticator and AuthProvider are set, want one")
	case c.SerialConsistency > 0 && c.SerialConsistency != gocql.Serial && c.SerialConsistency != gocql.LocalSerial:
		return fmt.Errorf("guardcassandra: SerialConsistency is %v, want SERIAL or LOCAL_SERIAL", c.SerialConsistency)
	}
	if err := validateListeners(&c.Metadata); err != nil {
		return err
	}
	if c.SslOpts != nil && c.HostDialer == nil {
		return validateTLS(c.SslOpts)
	}
	return nil
}

func validateListeners(m *gocql.MetadataConfig) error {
	l := m.SchemaListener
	others := l.TableChangeListener != nil || l.UserTypeChangeListener != nil || l.FunctionChangeListener != nil || l.AggregateChangeListener != nil
	switch {
	case m.CacheMode == gocql.Disabled && (others || l.KeyspaceChangeListener != nil):
		return errors.New("guardcassandra: Metadata.SchemaListener is set, want none with the CacheMode Disabled")
	case m.CacheMode == gocql.KeyspaceOnly && others:
		return errors.New("guardcassandra: Metadata.SchemaListener has more than a KeyspaceChangeListener, want that alone with the CacheMode KeyspaceOnly")
	}
	return nil
}

// validateTLS reads the files as the driver does.
func validateTLS(o *gocql.SslOptions) error {
	if o.CaPath != "" {
		pem, err := os.ReadFile(o.CaPath)
		if err != nil {
			return fmt.Errorf("guardcassandra: SslOpts.CaPath: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return fmt.Errorf("guardcassandra: SslOpts.CaPath is %q, want a file with certificates", o.CaPath)
		}
	}
	if o.CertPath != "" || o.KeyPath != "" {
		if _, err := tls.LoadX509KeyPair(o.CertPath, o.KeyPath); err != nil {
			return fmt.Errorf("guardcassandra: SslOpts.CertPath and KeyPath: %w", err)
		}
	}
	return nil
}
