package report

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/net/html"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

var at = time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)

// snapshot is what the probes of a small host saw.
func snapshot() *probes.Snapshot {
	return &probes.Snapshot{Host: "shop-3", At: at, Took: 1042 * time.Millisecond, Observations: []probes.Observation{
		{Probe: "conntrack", Status: probes.OK, Took: 150 * time.Microsecond},
		{Probe: "sshd", Status: probes.Skipped, Reason: "needs root"},
		{Probe: "swap", Status: probes.Nothing, Reason: "there is no swap"},
		{Probe: "disks", Status: probes.Failed, Reason: "reading /proc/diskstats: line 2 has 3 fields"},
	}}
}

func number(path string, n int64, unit string) playbooks.Fact {
	return playbooks.Fact{Path: path, Value: probes.IntValue(n), Type: &probes.Type{Kind: probes.Int}, Unit: unit}
}

// full is a finding with everything that a finding can have.
func full() playbooks.Finding {
	return playbooks.Finding{
		Playbook: "conntrack-table-full", Digest: "sha256:11", Area: "network", Severity: playbooks.Critical, Since: at,
		Title:   playbooks.Text{EN: "The connection-tracking table is full and drops new connections", ZH: "连接跟踪表已满，新连接被丢弃"},
		Means:   playbooks.Text{EN: "The kernel has no room to remember another connection, and users see `timeouts`.", ZH: "内核无法再记录新连接，用户看到 `超时`。"},
		Confirm: playbooks.Text{EN: "Run `conntrack -S` twice: insert_failed grows.", ZH: "执行两次 `conntrack -S`：insert_failed 在增长。"},
		Covers:  []string{"ecs/GuestOS.NetworkStatus"},
		Evidence: []playbooks.Text{
			{EN: "65000 of 65536 entries used, 12.5/s dropped", ZH: "已用 65000/65536 条，每秒丢弃 12.5 个"},
		},
		Clauses: []playbooks.Clause{
			{Text: "conntrack.count / conntrack.max >= params.full", Verdict: playbooks.Yes, Facts: []playbooks.Fact{
				number("conntrack.count", 65000, "entries"), number("conntrack.max", 65536, "entries"), number("conntrack.count", 65000, "entries"),
			}},
			{Text: "memory.total > 0", Verdict: playbooks.Unknown, Why: "memory failed: reading /proc/meminfo: permission denied"},
		},
		Explains: []string{"dns-slow/10.0.0.2"}, Risk: playbooks.Reversible,
		Steps: []playbooks.Step{{
			Action: "conntrack.limit", Risk: playbooks.Reversible, Undo: true, Writes: []string{"sysctl:net.netfilter.nf_conntrack_max"},
			Args: []playbooks.StepArg{{Name: "max", Value: probes.IntValue(131072), Type: &probes.Type{Kind: probes.Int}}},
		}, {Action: "service.restart", Risk: playbooks.Disruptive}},
		Withheld: []string{"sysctl.set: memory.total is not known"},
		See:      []string{"https://docs.kernel.org/networking/nf_conntrack-sysctl.html"},
	}
}

// sick is a host in trouble: a cause, what follows from it, another trouble that a person must mend, one that is pending, and things
// that could not be checked.
func sick() *Report {
	slow := playbooks.Finding{
		Playbook: "dns-slow", Object: "10.0.0.2", Area: "network", Severity: playbooks.Warning, Since: at, Digest: "sha256:22",
		Title: playbooks.Text{EN: "Name server 10.0.0.2 is slow", ZH: "DNS 服务器 10.0.0.2 响应慢"}, ExplainedBy: []string{"conntrack-table-full"},
		Evidence: []playbooks.Text{{EN: "it answered in 812 ms", ZH: "响应用时 812 ms"}}, Manual: playbooks.Text{EN: "Ask its owner."},
	}
	full2 := playbooks.Finding{
		Playbook: "filesystem-full", Object: "/data", Area: "storage", Severity: playbooks.Warning, Since: at, Digest: "sha256:33",
		Title:    playbooks.Text{EN: "/data is almost full", ZH: "/data 快满了"},
		Evidence: []playbooks.Text{{EN: "/data (/dev/vdb1) is 97.2 % full, 1.2 GiB left", ZH: "/data（/dev/vdb1）已用 97.2 %，剩余 1.2 GiB"}},
		Manual: playbooks.Text{
			EN: "See what fills it:\n  du -xh /data | sort -h | tail\nDelete what nobody needs, or enlarge the disk and then the file system (`growpart`, `resize2fs`).",
			ZH: "先看是什么占满了空间：\n  du -xh /data | sort -h | tail\n删除不再需要的文件，或者先扩容云盘，再扩展分区和文件系统（growpart、resize2fs）。",
		},
	}
	pending := playbooks.Finding{
		Playbook: "cpu-saturated", Area: "compute", Severity: playbooks.Warning, Since: at, For: 5 * time.Minute, Digest: "sha256:44",
		Title: playbooks.Text{EN: "The CPU is saturated", ZH: "CPU 饱和"}, Evidence: []playbooks.Text{{EN: "98 % busy", ZH: "使用率 98 %"}},
	}
	waiting := playbooks.Finding{
		Playbook: "sshd-not-running", Area: "access", Severity: playbooks.Critical, Since: at, Digest: "sha256:55",
		Title: playbooks.Text{EN: "sshd does not accept connections", ZH: "sshd 无法接受连接"}, Waits: playbooks.Text{EN: "the host is still starting", ZH: "主机仍在启动"},
	}
	d := &playbooks.Diagnosis{
		Findings: []playbooks.Finding{full(), slow, full2}, Pending: []playbooks.Finding{pending, waiting},
		Unknown: []playbooks.Unanswered{
			{Playbook: "sshd-config-invalid", Area: "access", Missing: []string{"sshd.config_valid"}, Reason: "sshd needs root"},
			{Playbook: "ssh-host-keys-missing", Area: "access", Missing: []string{"sshd.host_keys"}, Reason: "sshd.host_keys could not be read: open /etc/ssh: permission denied"},
			{Playbook: "swap-thrashing", Area: "memory", Missing: []string{"swap.in_per_s"}, Reason: "there is no swap", NotHere: true},
			{Playbook: "filesystem-full", Object: "/mnt/nfs", Area: "storage", Missing: []string{"fs.used_pct"}, Reason: "statfs timed out"},
		},
		Checks: []playbooks.Check{
			{Playbook: "cpu-saturated", Area: "compute", Verdict: playbooks.Yes},
			{Playbook: "oom-killed", Area: "memory", Verdict: playbooks.No, Reading: playbooks.Text{EN: "0 kills", ZH: "0 次"}},
			{Playbook: "swap-thrashing", Area: "memory", Verdict: playbooks.Unknown, NotHere: true, Reason: "there is no swap"},
			{Playbook: "filesystem-full", Area: "storage", Verdict: playbooks.Yes, Objects: 3},
			{Playbook: "conntrack-table-full", Area: "network", Verdict: playbooks.Yes},
			{Playbook: "dns-slow", Area: "network", Verdict: playbooks.Yes, Objects: 2},
			{Playbook: "sshd-config-invalid", Area: "access", Verdict: playbooks.Unknown, Reason: "sshd needs root"},
			{Playbook: "ssh-host-keys-missing", Area: "access", Verdict: playbooks.Unknown, Reason: "sshd needs root"},
		},
	}
	r := New(snapshot(), d, []playbooks.Action{{Name: "conntrack.limit", Doc: "Enlarge the connection-tracking table\n\nMore."}}, false)
	r.Beside([]playbooks.Change{
		{What: "kernel boot", Kind: "kernel", Name: "boot", Action: "booted", Age: 25 * time.Hour},
		{What: "package libc6", Kind: "package", Name: "libc6", Action: "upgraded", Age: 10 * time.Minute, Detail: "2.36-9 → 2.36-10"},
		{What: "config /etc/data/fill.conf", Kind: "config", Name: "/etc/data/fill.conf", Action: "written", Age: 2 * time.Hour},
	}, 24*time.Hour)
	r.Profile = NewProfile(playbooks.Choice{
		Profile: &playbooks.Profile{Name: "starting", Title: playbooks.Text{EN: "The host is still starting", ZH: "主机正在启动"}},
		Why:     playbooks.Text{EN: "systemd has not finished", ZH: "systemd 尚未完成启动"},
	})
	return r
}

// healthy is a host on which nothing was found and nothing left unchecked.
func healthy() *Report {
	return New(snapshot(), &playbooks.Diagnosis{
		Unknown: []playbooks.Unanswered{{Playbook: "swap-thrashing", Area: "memory", Reason: "there is no swap", NotHere: true}},
		Checks: []playbooks.Check{
			{Playbook: "filesystem-full", Area: "storage", Verdict: playbooks.No, Objects: 3, Reading: playbooks.Text{EN: "/ is the fullest with 43 %", ZH: "最满的是 /，43 %"}},
			{Playbook: "oom-killed", Area: "memory", Verdict: playbooks.No, Reading: playbooks.Text{EN: "0 kills", ZH: "0 次"}},
			{Playbook: "inodes-full", Area: "storage", Verdict: playbooks.No, Objects: 3},
			{Playbook: "swap-thrashing", Area: "memory", Verdict: playbooks.Unknown, NotHere: true, Reason: "there is no swap"},
		},
	}, nil, true)
}

// unsure is a host on which nothing was found, but not everything checked.
func unsure() *Report {
	r := sick()
	r.Findings, r.Pending = []Finding{}, []Finding{}
	for i := range r.Checks {
		if r.Checks[i].Verdict == "yes" {
			r.Checks[i].Verdict = "no"
		}
	}
	return r
}

// strange is a host of which no playbook knows anything.
func strange() *Report {
	return New(snapshot(), &playbooks.Diagnosis{
		Unknown: []playbooks.Unanswered{{Playbook: "swap-thrashing", Area: "memory", Reason: "there is no swap", NotHere: true}},
		Checks:  []playbooks.Check{{Playbook: "swap-thrashing", Area: "memory", Verdict: playbooks.Unknown, NotHere: true, Reason: "there is no swap"}},
	}, nil, true)
}

// Beside a finding stand the changes of the time before it: those that name its object, a file or a package of it, first.
func TestChanges(t *testing.T) {
	unit := func(object string) Finding {
		return Finding{Playbook: "unit-failed", Object: object, Area: "services", Since: at, Summary: []string{"exit status 1: cannot read /etc/app/key.pem"}}
	}
	change := func(kind, name string, age time.Duration) playbooks.Change {
		return playbooks.Change{What: kind + " " + name, Kind: kind, Name: name, Action: "written", Age: age}
	}
	many := []playbooks.Change{
		change("package", "vim", time.Minute), change("package", "htop", time.Minute), change("package", "curl", time.Minute),
		change("package", "zsh", time.Minute), change("package", "nano", time.Minute), change("package", "nginx-core", 3*time.Hour),
	}
	for name, c := range map[string]struct {
		finding Finding
		changes []playbooks.Change
		want    string // first, + where it is related; and how many
		n       int
	}{
		"a package of the unit":        {unit("nginx.service"), many, "nginx-core +", 5},
		"its configuration":            {unit("nginx.service"), []playbooks.Change{many[0], change("config", "/etc/nginx/nginx.conf", time.Hour)}, "/etc/nginx/nginx.conf +", 2},
		"a file that evidence names":   {unit("x.service"), []playbooks.Change{many[0], change("key-file", "/etc/app/key.pem", time.Hour)}, "/etc/app/key.pem +", 2},
		"an instance of a template":    {unit("app@7.service"), []playbooks.Change{many[0], change("unit", "/etc/systemd/system/app@.service", time.Hour)}, "/etc/systemd/system/app@.service +", 2},
		"nothing in particular":        {unit("x.service"), many[:2], "vim", 2},
		"too long ago":                 {unit("vim.service"), []playbooks.Change{change("package", "vim", 25*time.Hour)}, "", 0},
		"after it began":               {Finding{Since: at.Add(-time.Hour), Object: "postgres"}, []playbooks.Change{change("package", "postgres", time.Minute)}, "", 0},
		"accounts concern who logs in": {Finding{Area: "access", Since: at}, []playbooks.Change{many[0], change("account", "/etc/passwd", time.Hour)}, "/etc/passwd +", 2},
		"sysctl, where it was read": {
			Finding{Since: at, Evidence: []Clause{{Facts: Facts{{Path: `sysctl["vm.swappiness"]`}}}}},
			[]playbooks.Change{many[0], change("sysctl", "/etc/sysctl.d/9.conf", time.Hour)},
			"/etc/sysctl.d/9.conf +", 2,
		},
	} {
		r := &Report{At: at, Findings: []Finding{c.finding}}
		r.Beside(c.changes, 24*time.Hour)
		got, first := r.Findings[0].Changes, ""
		if len(got) > 0 {
			first = got[0].Name
			if got[0].Related {
				first += " +"
			}
		}
		if first != c.want || len(got) != c.n {
			t.Errorf("%s: %q first of %d, want %q of %d", name, first, len(got), c.want, c.n)
		}
	}
}

// No form of the report calls a host healthy of which the profile could see nothing.
func TestNothingToBeSeen(t *testing.T) {
	r := strange()
	r.Profile = NewProfile(playbooks.Choice{Profile: &playbooks.Profile{Name: "dms-instancerenew", Title: playbooks.Text{EN: "Renewing", ZH: "续费"}}})
	r.Profile.Unseen([]playbooks.Cover{{Name: "ecs/Account.InstanceRenew", Not: "bills are the account's business"}})
	for format, says := range map[string]string{"text": "nothing that dms-instancerenew asks for", "brief": "bills are the account", "json": `"note": "nothing that`, "html": "bills are"} {
		var b bytes.Buffer
		if err := r.Write(&b, format, Page{}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), says) {
			t.Errorf("%s does not say %q:\n%s", format, says, b.String())
		}
	}
}

// No form of the report calls a host healthy of which nothing is known.
func TestNothingAppliesIsNotHealthy(t *testing.T) {
	for format, says := range map[string]string{
		"text": "nothing found, but 0 of 1 apply here", "brief": "nothing found, 0 of 1 apply here", "json": `"judged": 0,`, "yaml": "judged: 0",
		"markdown": "nothing found, but 0 of 1 apply here", "html": `<header class="info">`,
	} {
		page := write(t, strange(), format, Page{})
		if _, body, ok := strings.Cut(page, "</style>"); ok {
			page = body
		}
		if strings.Contains(page, "healthy") || !strings.Contains(page, says) {
			t.Errorf("%s: calls it healthy, or does not say %q:\n%s", format, says, page)
		}
	}
}

// A line of brief has its title behind the second space, whatever the object is called.
func TestBriefFields(t *testing.T) {
	for object, want := range map[string]string{
		"": "dns-slow", "10.0.0.2": "dns-slow/10.0.0.2", "fd00::1 eth0": `dns-slow/"fd00::1 eth0"`, `a"b`: `dns-slow/"a\"b"`, "中文": "dns-slow/中文",
	} {
		f := playbooks.Finding{Playbook: "dns-slow", Object: object, Severity: playbooks.Warning, Title: playbooks.Text{EN: "It is slow"}}
		got := write(t, New(snapshot(), &playbooks.Diagnosis{Findings: []playbooks.Finding{f}}, nil, true), "brief", Page{})
		if got != "warning "+want+" It is slow\n" {
			t.Errorf("%q: %q", object, got)
		}
	}
}

func write(t *testing.T, r *Report, format string, to Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b, format, to); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name, format string
		report       *Report
		page         Page
	}{
		{"sick.txt", "text", sick(), Page{}},
		{"sick.zh.txt", "text", sick(), Page{Lang: "zh"}},
		{"sick.narrow.txt", "text", sick(), Page{Width: 50, ASCII: true}},
		{"healthy.txt", "text", healthy(), Page{}},
		{"unsure.txt", "text", unsure(), Page{}},
		{"colour.txt", "text", unsure(), Page{Color: true}},
		{"sick.brief", "brief", sick(), Page{}},
		{"sick.json", "json", sick(), Page{}},
		{"sick.yaml", "yaml", sick(), Page{}},
		{"sick.md", "markdown", sick(), Page{}},
		{"sick.html", "html", sick(), Page{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := write(t, tt.report, tt.format, tt.page)
			file := filepath.Join("testdata", tt.name)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(got) {
				if n := columns(strings.TrimSuffix(line, "\n")); tt.format == "text" && !tt.page.Color && n > stdcmp.Or(tt.page.Width, 80) {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-update writes it anew, if it is meant to be so (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBriefWithoutFindings(t *testing.T) {
	for _, tt := range []struct {
		report *Report
		want   string
	}{
		{healthy(), "healthy: nothing found\n"},
		{strange(), "nothing found, 0 of 1 apply here\n"},
		{unsure(), "nothing found, 3 of 8 not checked: sshd-config-invalid, ssh-host-keys-missing, filesystem-full\n"},
	} {
		if got := write(t, tt.report, "brief", Page{}); got != tt.want {
			t.Errorf("brief is %q, want %q", got, tt.want)
		}
	}
}

func TestJSONFollowsTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../docs/schema/diagnosis.v1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for name, r := range map[string]*Report{"sick": sick(), "healthy": healthy(), "unsure": unsure(), "hostile": hostile(), "strange": strange(), "empty": New(&probes.Snapshot{}, &playbooks.Diagnosis{}, nil, true)} {
		text := write(t, r, "json", Page{})
		if err := valid(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var fromYAML any
		if err := yaml.Unmarshal([]byte(write(t, r, "yaml", Page{})), &fromYAML); err != nil {
			t.Errorf("%s: YAML: %v", name, err)
			continue
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(again, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%s: YAML says something else than JSON (-json +yaml):\n%s", name, diff)
		}
	}
	for _, wrong := range []string{`"critical"`, `"playbook"`, `"took_ms"`, `"judged"`, `"checks"`} {
		text := write(t, sick(), "json", Page{})
		if valid(strings.Replace(text, wrong, `"nonsense"`, 1)) == nil {
			t.Errorf("the schema lets pass a report in which %s is nonsense", wrong)
		}
	}
}

// evil is what a file, process or unit may be called.
const evil = "\x1b]0;owned\x07\x1b[2J\u009b31m</script><script>alert(1)</script><img src=x onerror=alert(1)>" +
	"`$(id)` [click](javascript:alert(1)) |x| \r\nCRITICAL fake\u202etxt.exe \xff\u2028 \U000e0041{{.}} http://evil.example/a@b 中文"

// hostile is a report in which every text that a host can choose is evil.
func hostile() *Report {
	f := full()
	text := playbooks.Text{EN: evil, ZH: evil}
	oneLine := strings.NewReplacer("\r", " ", "\n", " ").Replace(evil) // the language lets no value make a line of its own
	f.Manual = playbooks.Text{EN: "Look at it:\n  cat '" + oneLine + "'\nThen act.", ZH: oneLine}
	f.Object, f.Title, f.Evidence, f.See = evil, text, []playbooks.Text{text}, []string{"javascript:alert(1)//" + evil}
	f.Clauses[0].Facts[0] = playbooks.Fact{Path: `fs["` + evil + `"]`, Value: probes.StringValue(evil), Type: &probes.Type{Kind: probes.String}}
	f.Clauses[1].Why = evil
	f.Steps[0].Args[0] = playbooks.StepArg{Name: "max", Value: probes.StringValue(evil), Type: &probes.Type{Kind: probes.String}}
	byHand := f
	byHand.Playbook, byHand.Steps = "by-hand", nil
	below := f
	below.Playbook, below.ExplainedBy = "below", []string{f.Identity()}
	s := snapshot()
	s.Host = evil
	s.Observations[3].Reason = evil
	return New(s, &playbooks.Diagnosis{
		Findings: []playbooks.Finding{f, byHand, below}, Pending: []playbooks.Finding{f},
		Unknown: []playbooks.Unanswered{{Playbook: "x", Object: evil, Area: "memory", Reason: evil}},
		Checks:  []playbooks.Check{{Playbook: "x", Area: "memory", Verdict: playbooks.No, Reading: text}, {Playbook: "y", Area: "memory", Reason: evil}},
	}, nil, true)
}

// Nothing that a host says acts on the terminal: no control character, no line that looks like ours, no character that cannot be seen.
func TestNothingActsOnTheTerminal(t *testing.T) {
	for _, format := range Formats {
		for _, r := range write(t, hostile(), format, Page{}) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U comes through", format, r)
				break
			}
		}
	}
	for _, format := range []string{"text", "brief", "markdown"} {
		for line := range strings.Lines(write(t, hostile(), format, Page{Width: 200})) {
			if strings.HasPrefix(strings.TrimLeft(line, " "), "CRITICAL fake") {
				t.Errorf("%s: a name makes a line of its own: %q", format, line)
			}
		}
	}
}

// The page has no script, no handler, no link that runs anything, and says so to the browser.
func TestHTMLIsInert(t *testing.T) {
	page := write(t, hostile(), "html", Page{})
	if !strings.Contains(page, `<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-`) {
		t.Error("there is no strict policy")
	}
	allowed := []string{
		"html", "head", "meta", "title", "style", "body", "header", "main", "article", "section", "h1", "h2", "h3", "p", "ul", "ol", "li", "dl", "dt", "dd", "span", "small",
		"code", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "a", "br",
	}
	for z := html.NewTokenizer(strings.NewReader(page)); z.Next() != html.ErrorToken; {
		tok := z.Token()
		if tok.Type != html.StartTagToken && tok.Type != html.SelfClosingTagToken {
			continue
		}
		if !slices.Contains(allowed, tok.Data) {
			t.Errorf("there is a <%s>", tok.Data)
		}
		for _, a := range tok.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" && !strings.HasPrefix(a.Val, "https://") && a.Val != "#ZgotmplZ" {
				t.Errorf("<%s> has %s=%q", tok.Data, a.Key, a.Val)
			}
		}
	}
}

type volumes struct {
	Mounts probes.Cut[volume] `fact:"mounts" doc:"What is mounted"`
	Total  probes.Opt[int]    `fact:"total" unit:"bytes" doc:"All together"`
	Names  []string           `fact:"names" doc:"Names"`
}

type volume struct {
	Mount string             `fact:"mount,key" doc:"Where"`
	Used  float64            `fact:"used_pct" unit:"%" doc:"How full"`
	Label probes.Opt[string] `fact:"label" doc:"Its label"`
}

func TestFacts(t *testing.T) {
	list := []probes.Probe[int]{
		probes.Define(probes.Probe[int]{Name: "fs", Doc: "File systems\n\nReads them."}, func(context.Context, int) (volumes, error) {
			return volumes{
				Mounts: probes.Cut[volume]{All: []volume{{Mount: "/", Used: 43.5}, {Mount: "/a\x1bb", Used: 9, Label: probes.Some("x")}}, More: 7},
				Total:  probes.Unread[int]("permission denied"), Names: []string{"a", "b"},
			}, nil
		}),
		probes.Define(probes.Probe[int]{Name: "swap", Doc: "Swap\n\nReads it."}, func(context.Context, int) (volumes, error) {
			return volumes{}, probes.NoData("there is no swap")
		}),
	}
	s := (&probes.Runner[int]{Probes: list}).Run(t.Context(), nil)
	for i := range s.Observations {
		s.Observations[i].Took = 0
	}
	s.Host, s.At = "h", at
	seen := &Observed{Snapshot: s, Probes: probes.Describe(list)}
	for _, tt := range []struct {
		docs bool
		want string
	}{
		{false, `fs  File systems
  mounts                      2 listed and 7 more
    mounts[/].used_pct        43.5 %
    mounts[/].label           none
    mounts[/a\x1bb].used_pct  9 %
    mounts[/a\x1bb].label     x
  total                       not known: permission denied
  names                       a, b

swap  Swap
  no data: there is no swap
`},
		{true, `fs  File systems
  Reads them.
  mounts                      2 listed and 7 more
      What is mounted
    mounts[/].used_pct        43.5 %
      How full
    mounts[/].label           none
      Its label
    mounts[/a\x1bb].used_pct  9 %
    mounts[/a\x1bb].label     x
  total                       not known: permission denied
      All together
  names                       a, b
      Names

swap  Swap
  Reads it.
  no data: there is no swap
`},
	} {
		var b strings.Builder
		if err := seen.WriteText(&b, Page{}, tt.docs); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("with docs %t (-want +got):\n%s", tt.docs, diff)
		}
	}
	var b strings.Builder
	if err := WriteData(&b, "yaml", seen); err != nil {
		t.Fatal(err)
	}
	const want = `schema: hostmend.facts/v1
host: h
at: "2026-11-21T07:00:00Z"
facts:
  fs:
    mounts:
      items:
        - mount: "/"
          used_pct: 43.5
          label: null
        - mount: "/a\u001bb"
          used_pct: 9
          label: x
      more: 7
    total:
      unreadable: "permission denied"
    names:
      - a
      - b
probes:
  - name: fs
    took_ms: 0
    status: ok
  - name: swap
    took_ms: 0
    status: "no data"
    reason: "there is no swap"
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two three", 8, []string{"one two", "three"}},
		{"abcdefghijkl", 5, []string{"abcde", "fghij", "kl"}},
		{"连接跟踪表已满，新连接被丢弃", 14, []string{"连接跟踪表已", "满，新连接被丢", "弃"}},
		{"已用 97.2 %，剩余 1.2 GiB", 12, []string{"已用", "97.2 %，剩余", "1.2 GiB"}},
		{"中", 1, []string{"中"}},
		{"it is 97.2 % full, 12 GiB left", 10, []string{"it is", "97.2 %", "full,", "12 GiB", "left"}},
		{"a  b", 80, []string{"a b"}},
	} {
		if got := wrap(tt.text, tt.limit); !slices.Equal(got, tt.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", tt.text, tt.limit, got, tt.want)
		}
	}
}

func TestMarkdownShowsTextsAsTheyAre(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"plain text, 97.2 % (/dev/vdb1)", "plain text, 97.2 % (/dev/vdb1)"},
		{"<script>[x](y) *a* _b_ `c` | # ~ & !", "\\<script\\>\\[x\\](y) \\*a\\* \\_b\\_ \\`c\\` \\| \\# \\~ \\& \\!"},
		{`back\slash`, `back\\slash`},
		{"- no list", `\- no list`},
		{"1. no list", `1\. no list`},
		{"12) no list", `12\) no list`},
		{"http://evil.example www.evil.example a@b.c", `http\://evil.example www\.evil.example a\@b.c`},
		{"2026-11-21 07:00", "2026-11-21 07:00"},
	} {
		if got := escape(tt.text); got != tt.want {
			t.Errorf("escape(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{{"a|b", "`a\\|b`"}, {"a`b``c", "``` a`b``c ```"}} {
		if got := tableCode(tt.text); got != tt.want {
			t.Errorf("tableCode(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"https://docs.kernel.org/x_y.html#z", "<https://docs.kernel.org/x_y.html#z>"},
		{"https://a/> <script>", `https\://a/\> \<script\>`},
		{"javascript:alert(1)", "javascript:alert(1)"},
	} {
		if got := link(tt.text); got != tt.want {
			t.Errorf("link(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
	if got, want := prose("Run `a|b` on <x>"), "Run `a|b` on \\<x\\>"; got != want {
		t.Errorf("prose: %q, want %q", got, want)
	}
}

// The page of playbooks says of a trouble what it means, how it is recognised and what to do; expressions and brackets are code.
func TestPlaybookReference(t *testing.T) {
	list := []playbooks.Playbook{
		{
			ID: "cause", Area: "memory", Title: playbooks.Text{EN: "It is {x.y} full", ZH: "{x.y} 满了"}, Means: playbooks.Text{EN: "Users wait.", ZH: "用户等待。"}, Severity: "warning",
			Evidence: []playbooks.Text{{EN: "{a_b} of c_d"}}, When: "x > 1", Risk: playbooks.Reversible, Explains: []string{"effect/{x}"}, Covers: []string{"doc/x"},
			Fix:    []playbooks.Remedy{{Action: "sysctl.set", Title: "Set a kernel parameter", If: "x > 2"}},
			Manual: playbooks.Text{EN: "Look at it with `awk '{{print}}'`:\n  ls {{a,b}}"}, Confirm: playbooks.Text{EN: "Run `top`."},
		},
		{ID: "effect", Area: "network", Title: playbooks.Text{EN: "It is slow"}, Severity: "info", When: "y > 1"},
	}
	var b bytes.Buffer
	if err := PlaybookReference(&b, list); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- [cause](#cause): It is … full\n", "**It is … full** · … 满了\n\nUsers wait.\n\n用户等待。\n", "- `{a_b}` of c\\_d\n", "1. Set a kernel parameter: [`sysctl.set`](actions.md#sysctlset), if `x > 2`\n",
		"with `awk '{print}'`:\\\n`ls {a,b}`\n", "*Explains* [effect](#effect).\n", "*May come from* [cause](#cause).\n", "*To make sure.* Run `top`.\n", "*Called elsewhere* `doc/x`",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, b.String())
		}
	}
}

// What was changed before several troubles is listed once.
func TestChangesAreListedOnce(t *testing.T) {
	changes := []Change{{Kind: "package", Name: "nginx", Action: "upgraded"}}
	r := &Report{Findings: []Finding{
		{Playbook: "first", Severity: "warning", Title: "First", Changes: changes},
		{Playbook: "consequence", Severity: "warning", Title: "Folded", Changes: changes, ExplainedBy: []string{"first"}},
		{Playbook: "second", Object: "x", Severity: "warning", Title: "Second", Changes: changes},
		{Playbook: "third", Severity: "warning", Title: "Third"},
	}}
	for _, format := range []string{"text", "markdown", "html"} {
		var b strings.Builder
		if err := r.Write(&b, format, Page{Width: 120}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), "nginx"); n != 1 {
			t.Errorf("%s names the change %d times:\n%s", format, n, b.String())
		}
		if n := strings.Count(b.String(), "the same as before"); n != 1 {
			t.Errorf("%s refers to it %d times:\n%s", format, n, b.String())
		}
	}
}

// TestConsequencesOfConsequences: what is explained by what is explained stands below the same cause, or nobody sees it.
func TestConsequencesOfConsequences(t *testing.T) {
	r := &Report{Host: "h", Findings: []Finding{
		{Playbook: "cause", Severity: "critical", Title: "The cause"},
		{Playbook: "full", Object: "/data", Severity: "critical", Title: "It is full", ExplainedBy: []string{"cause"}},
		{Playbook: "errors", Severity: "warning", Title: "The application fails", ExplainedBy: []string{"full//data"}},
	}}
	for _, format := range []string{"text", "markdown", "brief", "html"} {
		var b strings.Builder
		if err := r.Write(&b, format, Page{Lang: "en"}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"full", "errors"} {
			if strings.Count(b.String(), want) == 0 {
				t.Errorf("%s does not show %s:\n%s", format, want, b.String())
			}
		}
	}
}
