package host

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// ReadCertificate parses a PEM file. Where the key file is not there or may not be read, that is the error.
func (l *Local) ReadCertificate(name, key string) (KeyPair, error) {
	text, err := l.ReadFile(name)
	if err != nil {
		return KeyPair{}, err
	}
	leaf, err := leafOf(text)
	if err != nil {
		return KeyPair{}, &fs.PathError{Op: "parse", Path: name, Err: err}
	}
	c := KeyPair{
		Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Names: leaf.DNSNames, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
	if key == "" {
		return c, nil
	}
	secret, err := l.ReadFile(key)
	if err != nil {
		return c, err
	}
	switch _, err := tls.X509KeyPair(text, secret); {
	case err == nil:
		c.Key = "matches"
	case strings.Contains(err.Error(), "does not match"):
		c.Key = "differs"
	}
	return c, nil
}

func leafOf(text []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("it holds no certificate")
		}
		if block.Type != "CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("its certificate: %w", err)
		}
		return c, nil
	}
}
