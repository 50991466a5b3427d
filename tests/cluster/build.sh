#!/usr/bin/env bash
# Builds the real cluster's parts from Go modules into $AUDITMILL_CACHE/bin: kube-apiserver, etcd,
# kube-controller-manager, kubectl and kwok (a fake kubelet, so that exec really upgrades).
# Versions are pinned in kubernetes/go.mod and kwok/go.mod. Up to date binaries cost under 2 s.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${AUDITMILL_CACHE:-$HOME/.cache/auditmill}
bin=$cache/bin
mkdir -p "$bin"
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly
export GOMODCACHE=$cache/go/mod GOCACHE=$cache/go/build

cd "$here/kubernetes"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
minor=${minor%%.*}
# Both packages carry the version: the first is what /version answers, the second is what clients
# put into their user agent ("kubectl/v0.0.0 ... $Format" without it).
base=k8s.io/component-base/version
flags="-s -w -X k8s.io/client-go/pkg/version.gitVersion=$version -X $base.gitVersion=$version"
flags="$flags -X $base.gitMajor=1 -X $base.gitMinor=$minor"
for name in kube-apiserver kube-controller-manager kubectl; do
  go build -ldflags "$flags" -o "$bin/$name" "k8s.io/kubernetes/cmd/$name"
done
go build -ldflags '-s -w' -o "$bin/etcd" go.etcd.io/etcd/server/v3

cd "$here/kwok"
go build -ldflags '-s -w' -o "$bin/kwok" sigs.k8s.io/kwok/cmd/kwok
# kwok's pod and node life cycles ship as data in its module.
stages=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
for file in "$stages"/{node/fast,node/heartbeat,pod/fast}/{node,pod}-*.yaml; do
  [ -e "$file" ] || continue
  printf -- '---\n'
  cat "$file"
done > "$bin/kwok-stages.yaml"
