package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestReadCertificate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key := func(name string) (*ecdsa.PrivateKey, string) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return k, write(name, "PRIVATE KEY", der)
	}
	own, ownFile := key("own")
	_, otherFile := key("other")
	ends := time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotAfter: ends, DNSNames: []string{"shop.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, own.Public(), own)
	if err != nil {
		t.Fatal(err)
	}
	cert := write("cert", "CERTIFICATE", der)
	for key, want := range map[string]string{"": "", ownFile: "matches", otherFile: "differs"} {
		c, err := (&Local{}).ReadCertificate(cert, key)
		if err != nil || c.Key != want || c.Subject != "CN=shop" || !c.NotAfter.Equal(ends) || len(c.Names) != 1 {
			t.Errorf("with the key %q: %+v, %v; want %q", filepath.Base(key), c, err, want)
		}
	}
	if _, err := (&Local{}).ReadCertificate(ownFile, ""); err == nil {
		t.Error("a file with a key alone is taken for a certificate")
	}
	if _, err := (&Local{}).ReadCertificate(cert, filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
}
