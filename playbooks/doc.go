// Package playbooks is the language in which SREs write down troubles: load, lint, compile, match, explain, test. It is pure:
// no files, no network, no clock. Facts come in as a [probes.Snapshot], what is known of actions as [Action] schemas, and what
// comes out is a [Diagnosis].
//
//	lib, err := playbooks.Load(files, probes.Describe(list), actions)   // err: Problems, all at once
//	lib, err = lib.With(overlays, labels)                               // what holds for this host
//	snap := runner.Run(ctx, lib.Needs())                                // only what the playbooks read
//	diagnosis := lib.Match(snap, nil)
//
// [Reference] is the language's own page, made of the tables that the compiler uses.
//
// # How it works
//
// expr-lang's parser makes a syntax tree; everything after that is ours, because its checker stops at the first mistake and its
// types are not sound, and its virtual machine has two values of truth and no limits. The compiler gives every part a type
// and makes a tree of closures that read [probes.Value] in place and allocate nothing. Lists are never built: filter and map
// change what a turn of the loop does, and every loop of a playbook has a frame of its own in the machine, so that loops nest.
// Steps and bytes are counted in the machine, not in the library, which serves all hosts at once. The same closures run a second
// time, with a trace that notes what they read, for what matched or could not be decided.
//
// # Stories
//
// Beside NAME.yaml lies NAME.txtar, its story: what the playbook makes of captured facts. It begins with a sentence in plain words.
// The section `facts` is the base; every other section is a case, named VERDICT: what is special about it, and holds only its
// difference from the base:
//
//	A shop on sale: the connection-tracking table fills up.
//	-- facts --
//	conntrack: {count: 65000, max: 65536, drops_per_s: 12.5}
//	sysctl[net.core.somaxconn]: 128
//	filesystems.mounts:
//	  - {mount: /, used_pct: 40}
//	-- yes: it drops packets --
//	find:
//	  severity: critical
//	  evidence: 65000 of 65536 entries used
//	  steps: [conntrack.limit max=131072]
//	-- no: just below --
//	conntrack.count: 62000
//	-- unknown: the counter cannot be read --
//	conntrack: failed, permission denied
//	-- not here: no module --
//	conntrack: no data, the conntrack module is not loaded
//
// Verdicts are yes, no, unknown, and not here (only absent facts are missing). A fact is given by its probe, or by its path: an
// element of a list by its key, filesystems.mounts[/data].used_pct, a map's value by its own. null is absent, {unreadable: why}
// is unreadable, and a list that was cut short is {items: […], more: n}. What is not given is absent if it is optional and
// unreadable otherwise. find holds what is expected of the finding: severity, title, evidence (each text is a part of the English
// evidence), steps (all of them, in order; [] if manual applies) and manual; with for_each it is a mapping of objects, and
// there must be no other finding. params sets parameters within their bounds, missing names facts that an unknown lacks.
// [RunStory] also wants at least one match, one near miss, and the steps where there is a fix.
package playbooks
