package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// fixRealm gives the realm of the database and writes it down at the first start. The hashes depend on it, so with
// another one no password would be right any more.
func fixRealm(ctx context.Context, tx *sql.Tx, wanted string) (string, error) {
	var realm string
	err := tx.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = 'realm'`).Scan(&realm)
	switch {
	case err == nil && wanted != "" && wanted != realm:
		return "", fmt.Errorf("the configuration says realm: %q, but the passwords in the database were made for realm %q: a realm cannot be changed, so write that one or leave the line out", wanted, realm)
	case err == nil:
		return realm, nil
	case !errors.Is(err, sql.ErrNoRows):
		return "", err
	}
	if wanted == "" {
		wanted = DefaultRealm
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO setting (name, value) VALUES ('realm', $1)`, wanted)
	return wanted, err
}
