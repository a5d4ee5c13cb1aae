# Settings of the kernel (https://docs.kernel.org/admin-guide/sysctl/).
{ config, lib, ... }:
let
  cfg = config.photoncloud.hardening;
in
{
  options.photoncloud.hardening.kernel.enable = lib.mkOption {
    type = lib.types.bool;
    default = cfg.enable;
    defaultText = lib.literalExpression "config.photoncloud.hardening.enable";
    example = false;
    description = "Whether the kernel hides from ordinary users what they could attack it with.";
  };

  config = lib.mkIf cfg.kernel.enable {
    # Above NixOS's own defaults (1000), below what a host's configuration says (100).
    boot.kernel.sysctl = lib.mapAttrs (_: lib.mkOverride 900) {
      "kernel.dmesg_restrict" = 1;
      "kernel.kptr_restrict" = 2;
      "kernel.unprivileged_bpf_disabled" = 1;
      "kernel.yama.ptrace_scope" = 1;
      "kernel.kexec_load_disabled" = 1;
      "kernel.sysrq" = 0;
      "net.core.bpf_jit_harden" = 2;
      "fs.protected_fifos" = 2;
      "fs.protected_regular" = 2;
      "net.ipv4.conf.all.accept_redirects" = 0;
      "net.ipv4.conf.default.accept_redirects" = 0;
      "net.ipv4.conf.all.send_redirects" = 0;
      "net.ipv4.conf.default.send_redirects" = 0;
      "net.ipv6.conf.all.accept_redirects" = 0;
      "net.ipv6.conf.default.accept_redirects" = 0;
      # A host that is out of memory for good is started again, and its virtual machines with it.
      "kernel.panic" = 10;
      "kernel.panic_on_oops" = 1;
    };
    # File systems and protocols that a host of a rack never has.
    boot.blacklistedKernelModules = [
      "cramfs"
      "dccp"
      "firewire-core"
      "hfs"
      "hfsplus"
      "jffs2"
      "rds"
      "tipc"
      "udf"
    ];
  };
}
