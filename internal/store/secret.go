package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"liaison/internal/account"
	"liaison/internal/digest"
)

// keySize makes AES-256.
const keySize = 32

// secret encrypts what must not be read from a stolen database: the hashes are as good as the passwords.
type secret struct{ cipher.AEAD }

func newSecret(key []byte) (secret, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return secret{}, err
	}
	g, err := cipher.NewGCMWithRandomNonce(b)
	return secret{g}, err
}

// Layout of what is sealed for an account: flags, MD5, SHA-256.
const (
	sealedMD5, sealedSHA256 = 1, 2
	plainSize               = 1 + 16 + 32
)

// sealHashes binds the hashes to their number: moved to another row they do not open.
func (s secret) sealHashes(dst []byte, n account.Number, h *digest.Hashes) []byte {
	var plain [plainSize]byte
	if h.HasMD5 {
		plain[0] |= sealedMD5
	}
	if h.HasSHA256 {
		plain[0] |= sealedSHA256
	}
	copy(plain[1:], h.MD5[:])
	copy(plain[17:], h.SHA256[:])
	return s.Seal(dst, nil, plain[:], []byte("account "+n))
}

func (s secret) openHashes(n account.Number, sealed []byte) (digest.Hashes, error) {
	var (
		h  digest.Hashes
		pb [plainSize]byte
		ab [len("account ") + account.MaxNumber]byte
	)
	plain, err := s.Open(pb[:0], nil, sealed, append(append(ab[:0], "account "...), n...))
	if err != nil || len(plain) != plainSize {
		return h, fmt.Errorf("the password hashes of account %s cannot be decrypted: set a new password with \"liaison account password %s\"", n, n)
	}
	h.HasMD5, h.HasSHA256 = plain[0]&sealedMD5 != 0, plain[0]&sealedSHA256 != 0
	copy(h.MD5[:], plain[1:])
	copy(h.SHA256[:], plain[17:])
	return h, nil
}

// keyCheck is sealed into the database with the key, so that a wrong key is known before an account is read.
const keyCheck = "liaison"

// openSecret reads the key, or makes it if nothing was encrypted yet, and proves it on the database.
func openSecret(ctx context.Context, tx *sql.Tx, file string) (secret, error) {
	var sealed string
	err := tx.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = 'key check'`).Scan(&sealed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return secret{}, err
	}
	var accounts bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM account)`).Scan(&accounts); err != nil {
		return secret{}, err
	}

	key, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if accounts {
			return secret{}, fmt.Errorf("secret file %s is missing, and without it the passwords in the database cannot be checked: put it back, or restore a backup, which contains it", file)
		}
		key, err = makeKey(file)
	}
	if err != nil {
		return secret{}, err
	}
	s, err := newSecret(key)
	if err != nil {
		return secret{}, err
	}
	if sealed != "" {
		b, err := base64.StdEncoding.DecodeString(sealed)
		if err == nil {
			_, err = s.Open(nil, nil, b, []byte("key check"))
		}
		if err == nil {
			return s, nil
		}
		if accounts {
			return secret{}, fmt.Errorf("secret file %s is not the one with which this database was made: put the right one back, or restore a backup, which contains it", file)
		}
	}
	sealed = base64.StdEncoding.EncodeToString(s.Seal(nil, nil, []byte(keyCheck), []byte("key check")))
	_, err = tx.ExecContext(ctx, `INSERT INTO setting (name, value) VALUES ('key check', $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, sealed)
	return s, err
}

func readKey(file string) ([]byte, error) {
	key, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("secret file %s cannot be read: %w; it must belong to the user that runs the service", file, cause(err))
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("secret file %s has %d bytes and not %d: it is damaged or something else; put the right one back", file, len(key), keySize)
	}
	return key, nil
}

// makeKey writes a key that is there whole after a power cut, or not at all.
func makeKey(file string) ([]byte, error) {
	key := make([]byte, keySize)
	rand.Read(key)
	if err := writeWhole(file, key); err != nil {
		return nil, fmt.Errorf("secret file %s cannot be written: %w", file, cause(err))
	}
	return key, nil
}

// writeWhole makes a file that only its owner reads. It is refused if the file is there.
func writeWhole(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	return errors.Join(err, publish(f, name))
}

// publish closes a temporary file and gives it its name, with all that was written on the disk.
func publish(f *os.File, name string) error {
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	// Not a rename: that would replace a file that somebody else made meanwhile.
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
