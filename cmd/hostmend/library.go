package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/playbooks/library"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/remediate/linux"
)

// loadLibrary loads the playbooks of a directory; of none, the built-in ones.
func loadLibrary(dir string) (*playbooks.Library, error) {
	files, err := libraryFiles(dir)
	if err != nil {
		return nil, err
	}
	return playbooks.Load(files, probes.Describe(hostProbes()), linux.Actions())
}

// libraryFiles reads the *.yaml of a directory; of none, the built-in ones.
func libraryFiles(dir string) ([]playbooks.File, error) {
	if dir == "" {
		return readYAML(library.FS, "")
	}
	files, err := readYAML(os.DirFS(dir), dir)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no playbook (*.yaml) in %s", dir)
	}
	return files, err
}

func readYAML(from fs.FS, dir string) ([]playbooks.File, error) {
	names, err := fs.Glob(from, "*.yaml")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 && dir != "" {
		if _, err := fs.Stat(from, "."); err != nil {
			return nil, fmt.Errorf("reading playbooks: %w", asTyped(err, dir))
		}
	}
	files := make([]playbooks.File, len(names))
	for i, name := range names {
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, fmt.Errorf("reading playbooks: %w", asTyped(err, path.Join(dir, name)))
		}
		files[i] = playbooks.File{Name: filepath.Join(dir, name), Data: data}
	}
	return files, nil
}

// asTyped names the file as the user knows it; an fs.FS knows only its own part of the path.
func asTyped(err error, name string) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return &fs.PathError{Op: pe.Op, Path: name, Err: pe.Err}
	}
	return err
}

// libraryIDs are the ids of the built-in playbooks: their file names.
func libraryIDs() []string {
	names, err := fs.Glob(library.FS, "*.yaml")
	if err != nil {
		return nil
	}
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], ".yaml")
	}
	slices.Sort(names)
	return names
}
