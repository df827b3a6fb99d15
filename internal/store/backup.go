package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A backup is a tar file, packed with gzip, of two files: liaison.db, the database as it was at one moment, and
// secret.key, without which the passwords in it are of no use. Whoever has it has both, so it is made for its owner
// alone; "tar xzf" in an empty data folder is a restore too.

// Backup writes a backup to a file that is not there yet. The service may go on meanwhile.
func (s *Store) Backup(ctx context.Context, file string) error {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s is there already and is not overwritten: name another file", file)
	}
	key, err := readKey(s.secretFile)
	if err != nil {
		return err
	}
	// Beside the file: where the backup has room, its copy of the database has.
	work, err := os.MkdirTemp(filepath.Dir(file), ".liaison-backup-*")
	if err != nil {
		return fmt.Errorf("nothing can be written beside %s: %w", file, cause(err))
	}
	defer os.RemoveAll(work)

	snapshot := filepath.Join(work, databaseName)
	db, err := connect(s.file, 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO $1`, snapshot)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy of the database for %s: %w", file, err)
	}
	f, err := os.CreateTemp(work, "tar")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", file, cause(err))
	}
	err = packBackup(f, snapshot, key)
	if err != nil {
		f.Close()
	} else {
		err = publish(f, file)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and is not overwritten: name another file", file)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", file, cause(err))
	}
	return nil
}

func packBackup(w io.Writer, snapshot string, key []byte) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	put := func(name string, size int64, r io.Reader) error {
		err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: time.Now(), Format: tar.FormatPAX})
		if err != nil {
			return err
		}
		_, err = io.Copy(t, r)
		return err
	}
	db, err := os.Open(snapshot)
	if err != nil {
		return err
	}
	defer db.Close()
	info, err := db.Stat()
	if err != nil {
		return err
	}
	if err := put(secretName, int64(len(key)), bytes.NewReader(key)); err != nil {
		return err
	}
	if err := put(databaseName, info.Size(), db); err != nil {
		return err
	}
	return errors.Join(t.Close(), z.Close())
}

// Restore puts a backup in the place of what is in the data folder, and that into a folder beside it, whose name it
// gives; empty if there was nothing. It is refused while a server runs on the data folder.
func Restore(ctx context.Context, c Config, file string) (aside string, err error) {
	lock, err := TakeLock(c.Dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	err = alone(c.Dir, func() error {
		aside, err = restore(ctx, c, file)
		return err
	})
	return aside, err
}

func restore(ctx context.Context, c Config, file string) (aside string, err error) {
	secretFile := c.SecretFile
	if secretFile == "" {
		secretFile = filepath.Join(c.Dir, secretName)
	}
	work, err := os.MkdirTemp(c.Dir, ".restore-*")
	if err != nil {
		return "", fmt.Errorf("data folder %s: %w", c.Dir, cause(err))
	}
	defer os.RemoveAll(work)
	if err := unpackBackup(file, work); err != nil {
		return "", err
	}
	key, err := checkBackup(ctx, work)
	if err != nil {
		return "", fmt.Errorf("%s is not restored: %w", file, err)
	}

	if aside, err = setAside(c.Dir, secretFile); err != nil {
		return "", err
	}
	// The old key is in the folder beside by now.
	if old, err := readKey(secretFile); err != nil || string(old) != string(key) {
		if err := os.Remove(secretFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return aside, fmt.Errorf("secret file %s: %w", secretFile, cause(err))
		}
		if err := writeWhole(secretFile, key); err != nil {
			return aside, fmt.Errorf("secret file %s: %w", secretFile, cause(err))
		}
	}
	if err := os.Rename(filepath.Join(work, databaseName), filepath.Join(c.Dir, databaseName)); err != nil {
		return aside, err
	}
	return aside, syncFolder(c.Dir)
}

// unpackBackup takes the two files out of a backup and nothing else.
func unpackBackup(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", file, cause(err))
	}
	defer f.Close()
	damaged := func(err error) error {
		return fmt.Errorf("%s is not a backup that \"liaison backup\" made, or it is damaged: %w", file, err)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return damaged(err)
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return damaged(err)
		}
		if h.Name != databaseName && h.Name != secretName || h.Typeflag != tar.TypeReg {
			continue
		}
		out, err := os.OpenFile(filepath.Join(dir, h.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return damaged(err)
		}
		_, err = io.Copy(out, t)
		if err != nil {
			out.Close()
			return damaged(err)
		}
		if err := errors.Join(out.Sync(), out.Close()); err != nil {
			return fmt.Errorf("data folder: %w", cause(err))
		}
	}
	for _, name := range []string{databaseName, secretName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return damaged(fmt.Errorf("there is no %s in it", name))
		}
	}
	return nil
}

// checkBackup opens what was unpacked as a store would, before anything of what is there is moved.
func checkBackup(ctx context.Context, dir string) (key []byte, err error) {
	if key, err = readKey(filepath.Join(dir, secretName)); err != nil {
		return nil, err
	}
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	var verdict string
	err = s.read.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict)
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	if verdict != "ok" {
		return nil, fmt.Errorf("its database is damaged: %s", verdict)
	}
	// The last connection has emptied and removed the WAL; were it there, the database alone would not be all.
	if info, err := os.Stat(filepath.Join(dir, databaseName+"-wal")); err == nil && info.Size() > 0 {
		return nil, errors.New("its database could not be closed")
	}
	return key, nil
}

// setAside moves the database and copies the key into a folder of their own, which is a data folder again.
func setAside(dir, secretFile string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, databaseName)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	aside := filepath.Join(dir, "before-restore-"+time.Now().UTC().Format("20060102-150405.000"))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return "", fmt.Errorf("data folder %s: %w", dir, cause(err))
	}
	key, err := os.ReadFile(secretFile)
	if err == nil {
		err = writeWhole(filepath.Join(aside, secretName), key)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("secret file %s: %w", secretFile, cause(err))
	}
	// Into one file, if it can be done: a power cut between the renames must not part the database from its WAL. A
	// database that is too damaged for that is moved as it is.
	if db, err := connect(filepath.Join(dir, databaseName), 1); err == nil {
		db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
		db.Close()
	}
	for _, suffix := range []string{"-wal", "-shm", ""} {
		name := databaseName + suffix
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return aside, fmt.Errorf("data folder %s: %w", dir, cause(err))
		}
	}
	return aside, errors.Join(syncFolder(aside), syncFolder(dir))
}
