// Package plugins takes the place of Prometheus' own package of that name: of the ways to find targets, only
// those that are used. The clients of a dozen cloud providers would take longer to build than all the rest.
package plugins

import (
	_ "github.com/prometheus/prometheus/discovery/file"       // Targets of a file.
	_ "github.com/prometheus/prometheus/discovery/kubernetes" // Pods by their annotations.
)
