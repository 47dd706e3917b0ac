package process_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/process"
)

// A state that a snapshot would lose something of is refused, with the field.
func TestStatesComeBack(t *testing.T) {
	type state struct {
		Paid bool
		sent bool
	}
	_ = state{}.sent
	const want = "state.sent is not exported"
	if _, err := process.New[state](logtest.Context(t), logtest.Fresh(t), "shipping", 1); !errors.Is(err, process.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("New: %v", err)
	}
	if _, err := process.Offline[state]("shipping", 1); !errors.Is(err, process.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("Offline: %v", err)
	}
}
