package linux

import (
	"testing"
	"time"
)

func TestRefused(t *testing.T) {
	changed := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ask := func(after time.Duration, path string, status int) webRequest {
		return webRequest{client: "203.0.113.10", path: path, status: status, at: changed.Add(after)}
	}
	for name, c := range map[string]struct {
		requests      []webRequest
		count, former int
	}{
		"turned away":                    {[]webRequest{ask(-time.Minute, "/a", 200), ask(0, "/a", 200), ask(time.Second, "/a", 401), ask(time.Minute, "/a", 401)}, 2, 2},
		"never served":                   {[]webRequest{ask(-time.Minute, "/b", 401), ask(time.Second, "/a", 401), ask(time.Minute, "/a", 401)}, 0, 0},
		"another path is served as ever": {[]webRequest{ask(-time.Minute, "/a", 200), ask(time.Minute, "/b", 401)}, 0, 0},
		"some are served still":          {[]webRequest{ask(-time.Minute, "/a", 200), ask(time.Minute, "/a", 200), ask(2*time.Minute, "/a", 401)}, 0, 0},
	} {
		f := fixedAnswer{Status: 401}
		f.refused(c.requests, changed, changed.Add(time.Hour))
		if f.Count != c.count || f.Former != c.former {
			t.Errorf("%s: count %d, former %d; want %d, %d", name, f.Count, f.Former, c.count, c.former)
		}
	}
}

func TestLeadsNowhere(t *testing.T) {
	for target, want := range map[string]bool{
		"https://$host$request_uri": true, "http://$host$request_uri": true, "$scheme://$host$request_uri": true,
		"https://www.example.com/": false, "/new": false, "https://$host:8443$request_uri": false,
	} {
		if got := leadsNowhere(target, map[int]bool{80: true}); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
	if leadsNowhere("https://$host$request_uri", map[int]bool{80: true, 443: true}) {
		t.Error("TLS is served")
	}
}
