package linux

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestUnanswered(t *testing.T) {
	at := func(inode uint32, to string) openingSocket { return openingSocket{inode, netip.MustParseAddrPort(to)} }
	before := unansweredRaw{opening: []openingSocket{at(1, "10.0.0.7:3306"), at(2, "10.0.0.8:443"), at(3, "10.0.0.7:3306"), at(9, "10.0.0.9:80")}}
	now := unansweredRaw{
		opening: []openingSocket{at(1, "10.0.0.7:3306"), at(3, "10.0.0.7:3306"), at(4, "10.0.0.8:443"), at(9, "10.0.0.9:80")},
		owners:  map[uint32]owner{3: {812, "worker", "worker.service"}, 9: {900, "hostmend", ""}},
	}
	f, err := unanswered(now, &before, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Peers) != 1 {
		t.Fatalf("peers: %+v; want one, for others were answered or are hostmend's own", f.Peers)
	}
	p := f.Peers[0]
	process, _ := p.Process.Get()
	if got, want := []any{p.Peer, p.Port, p.Waiting, process}, []any{"10.0.0.7:3306", 3306, 2, "worker (pid 812, worker.service)"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	if f, _ := unanswered(now, nil, 0); len(f.Peers) != 0 {
		t.Errorf("%v from one sample", f.Peers)
	}
}

func TestUnansweredBySockets(t *testing.T) {
	const before, after = "at: 2026-01-01T00:00:00Z\n-- tcp @0s --\n", "-- tcp @1s --\n"
	const waits = `{"state":2,"local":"10.0.0.5:40000","remote":"10.0.0.7:3306","ino":7}` + "\n"
	const passes = `{"state":2,"local":"10.0.0.5:40001","remote":"10.0.0.8:443","ino":8}` + "\n"
	wantFacts(t, Unanswered, observe(t, Unanswered, before+waits+passes+after+waits), map[string]string{
		"peers[10.0.0.7:3306].waiting": "1", "peers[10.0.0.8:443]": "none",
	})
}

func TestUnansweredByNeighbours(t *testing.T) {
	const silent = "at: 2026-01-01T00:00:00Z\n-- tcp @0s --\n-- neighbours --\n" + `{"link":2,"ip":"10.0.0.7","state":"failed"}` + "\n" + `{"link":2,"ip":"10.0.0.1","state":"failed"}` + "\n"
	const files = "-- /etc/default/ --\n-- /etc/default/shop --\n# 10.0.0.1\nOTHER=10.0.0.71\nREDIS_HOST=10.0.0.7\n"
	wantFacts(t, Unanswered, observe(t, Unanswered, silent+files+"-- tcp @1s --\n"), map[string]string{
		"peers[10.0.0.7].named": `"/etc/default/shop:3"`, "peers[10.0.0.7].waiting": "0", "peers[10.0.0.1]": "none",
	})
}
