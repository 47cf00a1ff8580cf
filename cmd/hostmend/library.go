package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/playbooks/library"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/remediate/linux"
)

// loadLibrary loads the playbooks at the given paths; without any, the built-in ones.
func (p *program) loadLibrary(paths ...string) (*playbooks.Library, error) {
	return p.loadBeside(paths, nil)
}

// loadBeside loads the playbooks at the given paths, without any the built-in ones, and beside them those that are added.
func (p *program) loadBeside(paths, added []string) (*playbooks.Library, error) {
	builtin, err := builtinFiles()
	if err != nil {
		return nil, err
	}
	files, err := readFiles(slices.Concat(paths, added))
	if err != nil {
		return nil, err
	}
	l, ids, err := p.loadAmong(files, builtin)
	if err != nil || len(paths) == 0 {
		return l, err
	}
	return l.Only(ids...)
}

// loadAmong loads files among the built-in playbooks, which they may name in `explains` and whose place they take where the id is
// the same. ids are those of the files.
func (p *program) loadAmong(files, builtin []playbooks.File) (l *playbooks.Library, ids []string, err error) {
	ours := map[string]bool{}
	for _, f := range files {
		ours[f.Name] = true
		ids = append(ids, idOf(f.Name))
	}
	all := files
	for _, f := range builtin {
		if !slices.Contains(ids, idOf(f.Name)) {
			all = append(all, f)
		}
	}
	l, err = playbooks.Load(all, probes.Describe(p.hostProbes()), linux.Actions())
	if problems, ok := errors.AsType[playbooks.Problems](err); ok && len(files) > 0 {
		problems = slices.DeleteFunc(problems, func(p playbooks.Problem) bool { return !ours[p.File] })
		if len(problems) > 0 {
			return nil, nil, problems
		}
		err = nil
	}
	return l, ids, err
}

// idOf is the id of the playbook in a file.
func idOf(name string) string { return strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)) }

// builtinCovers are the names that playbooks may say they cover.
func builtinCovers() (*playbooks.Covers, error) {
	files, err := libraryFiles("covers/*.yaml")
	if err != nil {
		return nil, err
	}
	return playbooks.LoadCovers(files)
}

// builtinProfiles are the profiles that a diagnosis may be made by.
func builtinProfiles() (playbooks.Profiles, error) { return loadProfiles("profiles/*.yaml") }

// stateProfiles are those that the host's state chooses from. The official sets, which are not, take 9 ms to read, these 1 ms.
func stateProfiles() (playbooks.Profiles, error) { return loadProfiles("profiles/own.yaml") }

func loadProfiles(pattern string) (playbooks.Profiles, error) {
	files, err := libraryFiles(pattern)
	if err != nil {
		return nil, err
	}
	return playbooks.LoadProfiles(files, probes.Describe(hostProbes()))
}

func completeProfiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list, err := builtinProfiles()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []cobra.Completion
	for _, p := range list {
		out = append(out, cobra.CompletionWithDesc(p.Name, p.Title.EN))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func builtinFiles() ([]playbooks.File, error) { return libraryFiles("*.yaml") }

// libraryFiles are the built-in files whose names match.
func libraryFiles(pattern string) ([]playbooks.File, error) {
	names, err := fs.Glob(library.FS, pattern)
	if err != nil {
		return nil, err
	}
	files := make([]playbooks.File, len(names))
	for i, name := range names {
		data, err := library.FS.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files[i] = playbooks.File{Name: name, Data: data}
	}
	return files, nil
}

// libraryIDs are the ids of the built-in playbooks.
func libraryIDs() []string {
	names, err := fs.Glob(library.FS, "*.yaml")
	if err != nil {
		return nil
	}
	for i, name := range names {
		names[i] = idOf(name)
	}
	return names
}

// readFiles reads files, and all *.yaml of directories.
func readFiles(paths []string) ([]playbooks.File, error) {
	var files []playbooks.File
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		names := []string{p}
		if info.IsDir() {
			if names, err = yamlFiles(p); err != nil {
				return nil, err
			}
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			files = append(files, playbooks.File{Name: name, Data: data})
		}
	}
	return files, nil
}

// yamlFiles lists the playbooks or checks in a directory.
func yamlFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".yaml" && !e.IsDir() {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no *.yaml in %s", dir)
	}
	return names, nil
}
