package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// enterEnv makes this program, or its test, run its arguments as a command in the virtual machine that lives in that
// directory, with its own input, outputs and exit status: what nsenter is for a container.
//
// The way there is one of a few serial ports, since a fault may take the machine's network, its sshd, its disk and its memory.
// At the other end is vm-control.pl, which has the format of the messages.
const enterEnv = "HOSTMEND_LAB_ENTER"

// controlPorts is how many commands can run in a virtual machine at once.
const controlPorts = 3

// enterVM runs argv in the virtual machine of directory dir and returns its exit status.
func enterVM(ctx context.Context, dir string, argv []string) (int, error) {
	line, err := dialPort(ctx, dir)
	if err != nil {
		return 0, fmt.Errorf("entering the virtual machine: %w", err)
	}
	defer line.Close()
	return converse(line, argv, os.Stdin, os.Stdout, os.Stderr)
}

// converse has argv run at the other end of line.
func converse(line io.ReadWriter, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	session := rand.Uint32()
	if err := send(line, 'R', session, []byte(strings.Join(argv, "\x00")+"\x00")); err != nil {
		return 0, err
	}
	go feed(line, session, stdin)
	in := bufio.NewReader(line)
	for {
		kind, from, content, err := receive(in)
		switch {
		case err != nil:
			return 0, fmt.Errorf("the virtual machine does not answer any more: %w", err)
		case from != session: // the rest of an earlier command's output
		case kind == 'O':
			_, err = stdout.Write(content)
		case kind == 'M':
			_, err = stderr.Write(content)
		case kind == 'X':
			return strconv.Atoi(string(content))
		}
		if err != nil {
			return 0, err
		}
	}
}

// A port is a connection to a serial port, and the lock that keeps others from it.
type port struct {
	net.Conn
	lock *os.File
}

func (p port) Close() error { return errors.Join(p.Conn.Close(), p.lock.Close()) }

// dialPort connects to a port that nobody uses.
func dialPort(ctx context.Context, dir string) (p port, err error) {
	err = until(ctx, 30*time.Second, func() error {
		for i := range controlPorts {
			file := filepath.Join(dir, fmt.Sprintf("lab.%d", i))
			lock, err := lockFile(file + ".lock")
			if errors.Is(err, unix.EWOULDBLOCK) {
				continue
			}
			if err != nil {
				return permanent{err}
			}
			line, err := new(net.Dialer).DialContext(ctx, "unix", file)
			if err != nil {
				lock.Close()
			}
			p = port{line, lock}
			return err
		}
		return errors.New("all its ports are in use")
	})
	return p, err
}

// feed passes stdin on.
func feed(line io.Writer, session uint32, stdin io.Reader) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := stdin.Read(buffer)
		if n > 0 && send(line, 'I', session, buffer[:n]) != nil {
			return
		}
		if err != nil {
			_ = send(line, 'E', session, nil)
			return
		}
	}
}

func send(w io.Writer, kind byte, session uint32, content []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{kind}, session)
	message = binary.BigEndian.AppendUint32(message, uint32(len(content)))
	_, err := w.Write(append(message, content...))
	return err
}

func receive(r io.Reader) (kind byte, session uint32, content []byte, err error) {
	header := make([]byte, 9)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, 0, nil, err
	}
	content = make([]byte, min(binary.BigEndian.Uint32(header[5:]), 1<<20))
	_, err = io.ReadFull(r, content)
	return header[0], binary.BigEndian.Uint32(header[1:]), content, err
}
