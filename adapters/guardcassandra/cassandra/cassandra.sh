#!/usr/bin/env bash
# A single Cassandra 5 on loopback, without Docker: its jars from Maven Central
# on Java 17. It runs in the foreground, as one process; stop it by Ctrl-C or by
# its process id. All it writes is in the folder that is named.
#
#   cassandra.sh PORT FOLDER     start it: CQL on 127.0.0.1:PORT
#   cassandra.sh jars            only fetch the jars
#
# JARS names where they are kept (by default the user's cache), AUTH=1 makes it
# ask for a password (cassandra, cassandra).
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
jars="${JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/guard/cassandra-$(sha256sum "$here/pom.xml" | cut -c1-12)}"

if [ ! -e "$jars/complete" ]; then
	mkdir -p "$jars"
	mvn --quiet --batch-mode --file "$here/pom.xml" \
		org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
		-DoutputDirectory="$jars" -DincludeScope=runtime >&2
	touch "$jars/complete"
fi
[ "${1:-}" != jars ] || exit 0

[ $# -eq 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
port="$1"
mkdir -p "$2"
data="$(cd "$2" && pwd)"
storage="${STORAGE_PORT:-$((port > 1024 ? port - 1 : port + 1))}"
authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer
if [ "${AUTH:-0}" = 1 ]; then
	authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer
fi

cat >"$data/cassandra.yaml" <<YAML
cluster_name: guard
num_tokens: 1
initial_token: 0
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: ["$data/data"]
commitlog_directory: "$data/commitlog"
hints_directory: "$data/hints"
saved_caches_directory: "$data/saved_caches"
cdc_raw_directory: "$data/cdc_raw"
commitlog_sync: batch
endpoint_snitch: SimpleSnitch
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: $port
storage_port: $storage
start_native_transport: true
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1:$storage"}]
authenticator: $authenticator
authorizer: $authorizer
role_manager: CassandraRoleManager
auto_snapshot: false
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
networking_cache_size: 32MiB
file_cache_size: 32MiB
concurrent_reads: 8
concurrent_writes: 8
YAML

# What Cassandra 5 asks of Java 17 (its conf/jvm17-server.options).
flags=()
for p in java.io java.lang java.lang.module java.lang.reflect java.net java.nio java.util \
	java.util.concurrent java.util.concurrent.atomic jdk.internal.loader jdk.internal.math \
	jdk.internal.module jdk.internal.ref jdk.internal.reflect jdk.internal.util.jar sun.nio.ch; do
	flags+=(--add-opens "java.base/$p=ALL-UNNAMED")
done
for p in java.base/java.lang.ref java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch \
	java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server \
	java.rmi/sun.rmi.transport.tcp java.sql/java.sql jdk.attach/sun.tools.attach \
	jdk.compiler/com.sun.tools.javac.file jdk.unsupported/sun.misc; do
	flags+=(--add-exports "$p=ALL-UNNAMED")
done
for p in jdk.compiler/com.sun.tools.javac jdk.management/com.sun.management.internal; do
	flags+=(--add-opens "$p=ALL-UNNAMED")
done

jamm=("$jars"/jamm-*.jar)
# shellcheck disable=SC2086 # JAVA_ARGS are several
exec java -Xms384m -Xmx384m -XX:+UseSerialGC -Djdk.attach.allowAttachSelf=true "${flags[@]}" \
	-javaagent:"${jamm[0]}" \
	-Dcassandra.config="file:///$data/cassandra.yaml" -Dcassandra.storagedir="$data" -Dcassandra.logdir="$data/log" \
	-Dcassandra-foreground=yes -Dcassandra.ring_delay_ms=0 -Dcassandra.skip_wait_for_gossip_to_settle=0 \
	-Dcassandra.superuser_setup_delay_ms=0 ${JAVA_ARGS:-} \
	-cp "$jars/*" org.apache.cassandra.service.CassandraDaemon
