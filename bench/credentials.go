package main

import (
	"crypto/md5"
	"encoding/hex"
)

const (
	realm  = "liaison"
	cnonce = "6f2a91c04be7d358"
)

// password is the same derivation as in kamailio.cfg.
func password(number string) string { return "bench-" + number }

// secret is HA1 in hexadecimal: H(number:realm:password).
func secret(number string) (ha1 [32]byte) {
	sum := md5.Sum([]byte(number + ":" + realm + ":" + password(number)))
	hex.Encode(ha1[:], sum[:])
	return ha1
}

// digestResponse is the response to a challenge with qop=auth, in
// hexadecimal. RFC 7616 3.4.1, with MD5.
func digestResponse(ha1 *[32]byte, nonce []byte, nc [8]byte, cnonce, method string, uri []byte) (response [32]byte) {
	var work [512]byte
	b := append(work[:0], method...)
	b = append(b, ':')
	b = append(b, uri...)
	sum := md5.Sum(b)
	var ha2 [32]byte
	hex.Encode(ha2[:], sum[:])

	b = append(work[:0], ha1[:]...)
	b = append(b, ':')
	b = append(b, nonce...)
	b = append(b, ':')
	b = append(b, nc[:]...)
	b = append(b, ':')
	b = append(b, cnonce...)
	b = append(b, ":auth:"...)
	b = append(b, ha2[:]...)
	sum = md5.Sum(b)
	hex.Encode(response[:], sum[:])
	return response
}

// nonceCount is the eight digits of nc. RFC 7616 3.4.
func nonceCount(nc uint32) (digits [8]byte) {
	for i := range digits {
		digits[i] = "0123456789abcdef"[nc>>(28-4*i)&15]
	}
	return digits
}

// appendCredentials writes the value of an Authorization header.
func appendCredentials(dst []byte, number string, ha1 *[32]byte, nonce []byte, nc uint32, method string, uri []byte) []byte {
	count := nonceCount(nc)
	response := digestResponse(ha1, nonce, count, cnonce, method, uri)
	dst = append(dst, `Digest username="`...)
	dst = append(dst, number...)
	dst = append(dst, `", realm="`+realm+`", nonce="`...)
	dst = append(dst, nonce...)
	dst = append(dst, `", uri="`...)
	dst = append(dst, uri...)
	dst = append(dst, `", response="`...)
	dst = append(dst, response[:]...)
	dst = append(dst, `", algorithm=MD5, cnonce="`+cnonce+`", qop=auth, nc=`...)
	return append(dst, count[:]...)
}
