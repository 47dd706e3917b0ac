//go:build integration

package integration

import (
	"errors"

	"github.com/tidemark-es/tidemark/eventlog"
)

func isReplicaError(err error) bool { return errors.Is(err, eventlog.ErrReplica) }
