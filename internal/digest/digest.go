// Package digest is SIP digest authentication: challenges, credentials and
// nonces, for the server that asks and for the user agent that answers.
//
// RFC 7616 with the qop value auth, RFC 8760 (SHA-256), and the form without
// qop that RFC 2617 keeps for older agents. Neither auth-int nor a -sess
// algorithm is offered, so neither is accepted.
package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// Algorithm is the hash of a challenge and of what answers it.
type Algorithm uint8

const (
	MD5 Algorithm = iota // also what a missing algorithm parameter means
	SHA256
)

func (a Algorithm) String() string {
	if a == SHA256 {
		return "SHA-256"
	}
	return "MD5"
}

var (
	// ErrScheme: not Digest; another line of the same header may be.
	ErrScheme = errors.New("digest: authentication scheme is not Digest")
	// ErrAlgorithm: well formed, but of an algorithm that is not offered here.
	ErrAlgorithm = errors.New("digest: algorithm is neither MD5 nor SHA-256")

	errSyntax    = errors.New("digest: parameters are malformed")
	errDuplicate = errors.New("digest: a parameter stands twice")
	errMissing   = errors.New("digest: a required parameter is missing")
	errCount     = errors.New("digest: nonce count is not eight hexadecimal digits")
	errQOP       = errors.New("digest: qop without cnonce and nc")
	errNoAuth    = errors.New("digest: challenge does not offer qop=auth")
)

// parseAlgorithm reads an algorithm parameter. Its value is a token, but some
// agents quote it.
func parseAlgorithm(v []byte) (Algorithm, error) {
	switch {
	case is(v, "md5"):
		return MD5, nil
	case is(v, "sha-256"):
		return SHA256, nil
	}
	return MD5, ErrAlgorithm
}

// Hashes are H(user:realm:password), the H(A1) of RFC 7616 3.4.2: all that has
// to be known of a password to check one.
type Hashes struct {
	MD5       [md5.Size]byte
	SHA256    [sha256.Size]byte
	HasMD5    bool
	HasSHA256 bool
}

// Hash makes both hashes of a password.
func Hash(user, realm, password string) Hashes {
	a1 := []byte(user + ":" + realm + ":" + password)
	return Hashes{
		MD5: md5.Sum(a1), HasMD5: true,
		SHA256: sha256.Sum256(a1), HasSHA256: true,
	}
}

// sum appends the hash of b in lower-case hexadecimal, the form in which
// hashes enter other hashes.
func (a Algorithm) sum(dst, b []byte) []byte {
	if a == SHA256 {
		s := sha256.Sum256(b)
		return hex.AppendEncode(dst, s[:])
	}
	s := md5.Sum(b)
	return hex.AppendEncode(dst, s[:])
}

// ha1 appends H(A1) in hexadecimal; false: there is none of this algorithm.
func (h *Hashes) ha1(dst []byte, a Algorithm) ([]byte, bool) {
	if a == SHA256 {
		return hex.AppendEncode(dst, h.SHA256[:]), h.HasSHA256
	}
	return hex.AppendEncode(dst, h.MD5[:]), h.HasMD5
}

// scratch is room for what is hashed, on the stack for every message that an
// agent really sends; a longer one costs an allocation.
const scratch = 512

// appendResponse appends the response value of RFC 7616 3.4.1 in hexadecimal.
// Without qop it is the older one of RFC 2617 3.2.2.1. False: h has no hash of
// the algorithm.
func appendResponse(dst []byte, h *Hashes, a Algorithm, method string, uri, nonce, nc, cnonce, qop []byte) ([]byte, bool) {
	// RFC 7616 3.4.3. A2 has the method and the uri parameter as it was sent, not
	// the Request-URI: a proxy may have rewritten that.
	var b2 [scratch]byte
	a2 := append(b2[:0], method...)
	a2 = append(a2, ':')
	a2 = append(a2, uri...)

	var b [scratch]byte
	kd, ok := h.ha1(b[:0], a)
	if !ok {
		return dst, false
	}
	kd = append(kd, ':')
	kd = append(kd, nonce...)
	kd = append(kd, ':')
	if qop != nil {
		// nc as text: an agent that writes it in upper case hashes it so.
		kd = append(kd, nc...)
		kd = append(kd, ':')
		kd = append(kd, cnonce...)
		kd = append(kd, ':')
		kd = append(kd, qop...)
		kd = append(kd, ':')
	}
	kd = a.sum(kd, a2)
	return a.sum(dst, kd), true
}
