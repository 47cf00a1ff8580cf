package linux

import (
	"fmt"
	"strings"
	"testing"
)

func TestBoot(t *testing.T) {
	const debian = `-- /boot/grub/grub.cfg --
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian GNU/Linux' --class debian {
	search --no-floppy --fs-uuid --set=root 6d1f
	linux	/boot/vmlinuz-6.1.0-50-cloud-amd64 root=UUID=6d1f ro console=ttyS0
	initrd	/boot/initrd.img-6.1.0-50-cloud-amd64
}
### END /etc/grub.d/10_linux ###
### BEGIN /etc/grub.d/20_memtest86+ ###
	linux16 /boot/memtest86+x64.bin
### END /etc/grub.d/20_memtest86+ ###
### BEGIN /etc/grub.d/30_os-prober ###
	linux /boot/vmlinuz-of-another-disk root=/dev/vdb1
### END /etc/grub.d/30_os-prober ###
`
	const first = "entries[/boot/grub/grub.cfg:4]"
	const kernel = "-- /boot/vmlinuz-6.1.0-50-cloud-amd64 --\nk\n"
	const initrd = "-- /boot/initrd.img-6.1.0-50-cloud-amd64 --\ni\n"
	grub := func(env, choice string) string {
		text := "-- /boot/grub/grub.cfg --\nif [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\nelse\n   set default=" + choice +
			"\nfi\n" + strings.SplitN(debian, "\n", 2)[1] + "submenu 'More' $menuentry_id_option 'gnulinux-advanced-6d1f' {\n\tmenuentry 'Debian, with Linux 6.0' --class debian " +
			"$menuentry_id_option 'gnulinux-6.0-advanced-6d1f' {\n\t\tlinux\t/boot/vmlinuz-6.0 root=UUID=6d1f ro\n\t}\n}\n"
		if env != "" {
			text += "-- /boot/grub/grubenv --\n# GRUB Environment Block\n" + env + "#####"
		}
		return text + "\n"
	}
	defaults := func(first, second bool) map[string]string {
		return map[string]string{"entries[/boot/grub/grub.cfg:9].default": fmt.Sprint(first), "entries[/boot/grub/grub.cfg:21].default": fmt.Sprint(second)}
	}
	const blsEntries = "-- /boot/grub2/grub.cfg --\nblscfg\n" +
		"-- /boot/loader/entries/a1-0-rescue.conf --\ntitle Rescue\nlinux /boot/vmlinuz-0-rescue\n" +
		"-- /boot/loader/entries/a1-5.10.134.conf --\ntitle Alibaba Cloud Linux\nlinux /boot/vmlinuz-5.10.134\n" +
		"-- /boot/loader/entries/a1-5.9.0.conf --\ntitle Alibaba Cloud Linux\nlinux /boot/vmlinuz-5.9.0\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all there", debian + kernel + initrd, map[string]string{
			"config": `"/boot/grub/grub.cfg"`, first + ".missing": "[]", first + ".empty": "[]", first + ".kernel": `"/boot/vmlinuz-6.1.0-50-cloud-amd64"`,
		}},
		{"no kernel", debian + initrd, map[string]string{first + ".missing": `["/boot/vmlinuz-6.1.0-50-cloud-amd64"]`}},
		{"initrd cut to nothing by a full disk", debian + kernel + "-- /boot/initrd.img-6.1.0-50-cloud-amd64 --\n", map[string]string{
			first + ".missing": "[]", first + ".empty": `["/boot/initrd.img-6.1.0-50-cloud-amd64"]`,
		}},
		{
			"CentOS 7 with a file system for /boot",
			"-- /boot/grub2/grub.cfg --\nmenuentry 'CentOS' {\n\tlinux16 /vmlinuz-3.10.0 root=/dev/vda2\n\tinitrd16 /initramfs-3.10.0.img\n}\n" +
				"-- /boot/vmlinuz-3.10.0 --\nk\n-- /boot/initramfs-3.10.0.img --\ni\n",
			map[string]string{"entries[/boot/grub2/grub.cfg:2].missing": "[]"},
		},
		{
			"entries in files of their own, with a variable",
			"-- /boot/grub2/grub.cfg --\nblscfg\n-- /boot/loader/entries/1-5.10.conf --\ntitle Alibaba Cloud Linux\nlinux /boot/vmlinuz-5.10\ninitrd /boot/initramfs-5.10.img $tuned_initrd\n" +
				"-- /boot/vmlinuz-5.10 --\nk\n",
			map[string]string{"entries[/boot/loader/entries/1-5.10.conf:2].missing": `["/boot/initramfs-5.10.img"]`},
		},
		{"the first is the default", grub("", `"0"`), defaults(true, false)},
		{"by a saved title", grub("saved_entry=Debian, with Linux 6.0\n", `"${saved_entry}"`), defaults(false, true)},
		{"by a saved path of ids", grub("saved_entry=gnulinux-advanced-6d1f>gnulinux-6.0-advanced-6d1f\n", `"${saved_entry}"`), defaults(false, true)},
		{"for once", grub("saved_entry=\nnext_entry=Debian, with Linux 6.0\n", `"0"`), defaults(false, true)},
		{"nothing saved", grub("", `"${saved_entry}"`), defaults(true, false)},
		{"by a number, or a name of no entry", grub("", `"2"`), map[string]string{"entries[/boot/grub/grub.cfg:9].default": "null"}},
		{
			"the newest file is the default, not the rescue one", blsEntries,
			map[string]string{
				"entries[/boot/loader/entries/a1-0-rescue.conf:2].default": "false", "entries[/boot/loader/entries/a1-5.9.0.conf:2].default": "false",
				"entries[/boot/loader/entries/a1-5.10.134.conf:2].default": "true",
			},
		},
		{
			"or the saved one", blsEntries + "-- /boot/grub2/grubenv --\n# GRUB Environment Block\nsaved_entry=a1-5.9.0\n#####",
			map[string]string{"entries[/boot/loader/entries/a1-5.9.0.conf:2].default": "true", "entries[/boot/loader/entries/a1-5.10.134.conf:2].default": "false"},
		},
		{"the choice cannot be read", grub("", `"0"`) + "-- /boot/grub/grubenv !permission --\n", map[string]string{"(reason)": "grubenv"}},
		{"a container", "", map[string]string{"(reason)": "no configuration of GRUB"}},
		{"modules of the loader", debian + kernel + initrd + "-- /boot/grub/i386-pc/normal.mod --\nm\n", map[string]string{"modules_missing": "[]"}},
		{"a module that is gone", debian + kernel + initrd + "-- /boot/grub/i386-pc/ext2.mod --\nm\n", map[string]string{"modules_missing": `["/boot/grub/i386-pc/normal.mod"]`}},
		{"a module that a full disk cut to nothing", debian + kernel + initrd + "-- /boot/grub/i386-pc/normal.mod --\n", map[string]string{"modules_missing": `["/boot/grub/i386-pc/normal.mod"]`}},
		{"leftovers beside EFI", debian + kernel + initrd + "-- /boot/grub/i386-pc/ext2.mod --\nm\n-- /sys/firmware/efi/ --\n", map[string]string{"modules_missing": "[]"}},
		{"denied", "-- /boot/grub2/grub.cfg !permission --\n", map[string]string{"(reason)": "permission"}},
		{"cut short in a word", "-- /boot/grub/grub.cfg [quoted] --\n" + quote("\tlinux"), map[string]string{"entries": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Boot, observe(t, Boot, c.capture), c.want) })
	}
}
