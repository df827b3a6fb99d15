package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names in the data folder.
const (
	databaseName = "liaison.db"
	secretName   = "secret.key"
	lockName     = "lock"
)

// openFolder makes the data folder if it is not there and tells in one line what is wrong with it.
func openFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder %s cannot be made: %w; make it yourself, or name another with --data or data: in the configuration", dir, cause(err))
	}
	// Root may write everywhere, so Access has nothing to say to it; SQLite then meets a read-only file system itself.
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("data folder %s cannot be read and written by user %d: %w; run \"chown -R %d %s\" as root, or name another with --data",
			dir, os.Geteuid(), err, os.Geteuid(), dir)
	}
	return nil
}

// cause takes the operation and the path off an error of the file system: the message says both already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Lock is held by the one process that serves from a data folder.
type Lock struct{ f *os.File }

// TakeLock refuses when another process serves from the folder. The lock ends with the process, however it ends.
func TakeLock(dir string) (*Lock, error) {
	if err := openFolder(dir); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock file %s cannot be opened: %w", name, cause(err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock file %s cannot be locked: %w", name, err)
		}
		who := "another process"
		b := make([]byte, 20)
		if n, _ := f.Read(b); n > 0 {
			who = "process " + strings.TrimSpace(string(b[:n]))
		}
		return nil, fmt.Errorf("a server runs on the data folder %s already (%s): stop it first, or name another folder with --data", dir, who)
	}
	// Only for people; the lock is not in what is written.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &Lock{f}, nil
}

// Close gives the lock back.
func (l *Lock) Close() error { return l.f.Close() }

// alone runs fn while no other process prepares the same folder: two first starts at the same time would make two keys.
func alone(dir string, fn func() error) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("data folder %s cannot be opened: %w", dir, cause(err))
	}
	defer f.Close()
	if err := flock(f); err != nil {
		return fmt.Errorf("data folder %s cannot be locked: %w", dir, err)
	}
	return fn()
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}
