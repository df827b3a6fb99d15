package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"liaison/internal/registrar"
)

func TestABackupIsWholeWhileTheServerWrites(t *testing.T) {
	s := newStore(t)
	c, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wrote := make(chan int64)
	go func() {
		i := int64(0)
		for ctx.Err() == nil {
			i++
			save(t, s, registrar.Change{Kind: registrar.Added, Binding: binding(i)})
			if i == 100 {
				wrote <- i
			}
		}
		wrote <- i
	}()
	<-wrote
	file := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-wrote
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}

	// On a new machine.
	dir := filepath.Join(t.TempDir(), "data")
	aside, err := Restore(t.Context(), Config{Dir: dir}, file)
	if err != nil || aside != "" {
		t.Fatal(aside, err)
	}
	restored := open(t, Config{Dir: dir})
	checkPassword(t, restored, c.Number, c.Password)
	if n := len(stored(t, restored)); n < 100 {
		t.Errorf("%d bindings of at least 100", n)
	}
}

func TestABackupOverwritesNothing(t *testing.T) {
	s := newStore(t)
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Backup(t.Context(), file), file, "there already")
	if b, _ := os.ReadFile(file); string(b) != "mine" {
		t.Error("it was overwritten")
	}
	wantError(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "no", "such", "folder")), "no such file")
}

func TestRestoreKeepsWhatWasThere(t *testing.T) {
	s := newStore(t)
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001", Password: "old"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	for _, outside := range []bool{false, true} {
		c := Config{Dir: t.TempDir()}
		if outside {
			c.SecretFile = filepath.Join(t.TempDir(), "key")
		}
		other, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.AddAccount(t.Context(), NewAccount{Number: "88885001", Password: "kept"}); err != nil {
			t.Fatal(err)
		}
		other.Close()
		aside, err := Restore(t.Context(), c, file)
		if err != nil {
			t.Fatal(err)
		}
		checkPassword(t, open(t, c), "45675001", "old")
		checkPassword(t, open(t, Config{Dir: aside}), "88885001", "kept")
		if left, _ := filepath.Glob(filepath.Join(c.Dir, ".*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestRestoreIsRefusedAndChangesNothing(t *testing.T) {
	s := newStore(t)
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001", Password: "x"}); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := Config{Dir: dir}
	here, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.AddAccount(t.Context(), NewAccount{Number: "88885001", Password: "kept"}); err != nil {
		t.Fatal(err)
	}
	here.Close()
	for what, b := range map[string][]byte{
		"text":   []byte(strings.Repeat("text", 1000)),
		"empty":  nil,
		"cut":    whole[:len(whole)/2],
		"broken": bytes.Replace(whole, whole[len(whole)/2:len(whole)/2+8], []byte("12345678"), 1),
	} {
		file := filepath.Join(t.TempDir(), what)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), c, file)
		wantError(t, err, file, "damaged")
	}
	_, err = Restore(t.Context(), c, filepath.Join(dir, "nothing"))
	wantError(t, err, "nothing", "no such file")

	lock, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Restore(t.Context(), c, good)
	wantError(t, err, "a server runs")
	lock.Close()

	checkPassword(t, open(t, c), "88885001", "kept")
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if got := fmt.Sprint(len(left)); strings.Contains(strings.Join(left, " "), "before-restore") {
		t.Errorf("%s files: %v", got, left)
	}
}
