package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
)

// An application is saved to a directory and restored on another server.
func Example() {
	if err := saveAndRestore(); err != nil {
		fmt.Println(err)
	}
	// Output: 2 events saved, 2 there after the restore
}

func saveAndRestore() (err error) {
	ctx := context.Background()
	tmp, err := os.MkdirTemp("", "backup")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Dir: filepath.Join(tmp, "one")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"))
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := accounts.Append(ctx, "ada", eventlog.ExpectAny, deposited{100}); err != nil {
			return err
		}
	}
	saved, err := backup.Save(ctx, log, filepath.Join(tmp, "backup"))
	if err != nil {
		return err
	}

	other, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Dir: filepath.Join(tmp, "two")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	if _, err := backup.Restore(ctx, other, filepath.Join(tmp, "backup")); err != nil {
		return err
	}
	restored, err := other.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"))
	if err != nil {
		return err
	}
	state, err := restored.State(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d events saved, %d there after the restore\n", saved.Feeds()[accounts.Stream()], state.Last)
	return nil
}
