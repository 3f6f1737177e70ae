//go:build tools

// Package tools names the store of the cluster tests.
package tools

import _ "go.etcd.io/etcd/server/v3"
