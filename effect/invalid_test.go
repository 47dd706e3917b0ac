package effect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

func TestInvalid(t *testing.T) {
	log := logtest.Fresh(t)
	s := openShop(t, log, 1)
	ctx := logtest.Context(t)
	if err := s.mails.Run(ctx, nil, effect.Options{}); !errors.Is(err, effect.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if err := s.mails.Run(ctx, newPost().send, effect.Options{Parallel: -1}); !errors.Is(err, effect.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := effect.New[mail](ctx, log, "Mails", 1); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := effect.New[any](ctx, log, "mails", 1); !errors.Is(err, effect.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := effect.Offline[chan int]("mails", 1); !errors.Is(err, effect.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	twice, err := effect.New[mail](ctx, log, "twice", 1)
	if err != nil {
		t.Fatal(err)
	}
	effect.On(twice, s.orders, func(tx *effect.Tx[mail], e eventlog.Event, d Placed) error {
		tx.Want("", mail{})
		tx.Want("", mail{})
		return nil
	})
	rt, err := (projection.Config{NoSnapshots: true}).Start(ctx, log, twice)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	at, err := s.orders.Append(ctx, "ada", eventlog.ExpectAny, Placed{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Wait(ctx, at); !errors.Is(err, effect.ErrInvalid) || !errors.Is(err, projection.ErrStopped) {
		t.Errorf("got %v", err)
	}
	if err := twice.Run(ctx, newPost().send, effect.Options{}); !errors.Is(err, projection.ErrStopped) {
		t.Errorf("got %v", err)
	}
}

// An intent that a snapshot would lose something of is refused, with the field:
// else a mail goes to nobody.
func TestIntentsComeBack(t *testing.T) {
	type hiddenMail struct{ to string }
	type wrapped struct{ Mails []hiddenMail }
	_ = hiddenMail{}.to
	const want = "wrapped.Mails[].to is not exported"
	log := logtest.Fresh(t)
	if _, err := effect.New[wrapped](logtest.Context(t), log, "mails", 1); !errors.Is(err, effect.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("New: %v", err)
	}
	if _, err := effect.Offline[wrapped]("mails", 1); !errors.Is(err, effect.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("Offline: %v", err)
	}
	if _, err := effect.Offline[error]("mails", 1); !errors.Is(err, effect.ErrInvalid) {
		t.Errorf("an interface: %v", err)
	}
}
