package import OCIModel

/// The system calls that a step may make: Moby's default profile (which BuildKit uses) for the default capabilities, as data. The filter sees
/// what the host's kernel sees: under emulation that is QEMU's calls, in the host's own architecture.
package enum Seccomp {
  /// The profile for processes of `architecture` (a Go name) with the capabilities of `RuntimeSpec.capabilities`, as the OCI runtime spec has it.
  /// nil for an architecture without a filter.
  package static func profile(architecture: String) -> JSONValue? {
    guard let architectures = architectures[architecture] else { return nil }
    var rules: [JSONValue] = [
      rule(allowed), rule("process_vm_readv process_vm_writev ptrace"),
      // Every address family but AF_ALG (38) and AF_VSOCK (40).
      rule("socket", [(0, 38, "SCMP_CMP_LT", nil)]), rule("socket", [(0, 39, "SCMP_CMP_EQ", nil)]), rule("socket", [(0, 40, "SCMP_CMP_GT", nil)]),
    ]
    rules += [0x0, 0x8, 0x20000, 0x20008, 0xffff_ffff].map { rule("personality", [(0, $0, "SCMP_CMP_EQ", nil)]) }
    if let own = particular[architecture] { rules += own.map { rule($0) } }
    // CLONE_NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWCGROUP: not without CAP_SYS_ADMIN. s390 has the flags second.
    let flags: UInt64 = 0x7e02_0000
    rules.append(rule("clone", [(architecture == "s390x" ? 1 : 0, flags, "SCMP_CMP_MASKED_EQ", 0)]))
    // The flags of clone3 are behind a pointer; programs fall back to clone.
    rules.append(["names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38])
    rules.append(rule("chroot"))
    var profile = JSONObject([("defaultAction", "SCMP_ACT_ERRNO"), ("defaultErrnoRet", 1)])
    // Without a list it is the runtime's own architecture alone.
    if !architectures.isEmpty { profile["architectures"] = .array(architectures.map { .string("SCMP_ARCH_" + $0) }) }
    profile["syscalls"] = .array(rules)
    return .object(profile)
  }

  private static func rule(_ names: String, _ arguments: [(index: Int, value: UInt64, op: String, second: UInt64?)] = []) -> JSONValue {
    var object = JSONObject([
      ("names", .array(names.split(whereSeparator: \.isWhitespace).map { .string(String($0)) })), ("action", "SCMP_ACT_ALLOW"),
    ])
    if !arguments.isEmpty {
      object["args"] = .array(
        arguments.map { argument in
          // MASKED_EQ: the mask is `value`, and what the masked argument must equal is `valueTwo`.
          var one = JSONObject([("index", .int(argument.index)), ("value", .int(argument.value))])
          if let second = argument.second { one["valueTwo"] = .int(second) }
          one["op"] = .string(argument.op)
          return .object(one)
        })
    }
    return .object(object)
  }

  /// Which of libseccomp's architectures the filter covers, the host's first: a kernel takes the calls of its 32-bit siblings too.
  static let architectures: [String: [String]] = [
    "amd64": ["X86_64", "X86", "X32"], "arm64": ["AARCH64", "ARM"], "s390x": ["S390X", "S390"], "riscv64": ["RISCV64"], "loong64": ["LOONGARCH64"],
    "mips64": ["MIPS64", "MIPS", "MIPS64N32"], "mips64le": ["MIPSEL64", "MIPSEL", "MIPSEL64N32"], "ppc64le": [], "386": [], "arm": [],
  ]
  private static let particular: [String: [String]] = [
    "amd64": ["arch_prctl", "modify_ldt"], "386": ["modify_ldt"], "ppc64le": ["sync_file_range2 swapcontext"], "riscv64": ["riscv_flush_icache"],
    "arm": [armCalls], "arm64": [armCalls], "s390x": ["s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"],
  ]
  private static let armCalls = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"

  private static let allowed = """
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64
    clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
    fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr
    fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
    futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
    getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr
    lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat
    mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
    newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll
    ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
    renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt
    shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64
    statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64
    utimes vfork vmsplice wait4 waitid waitpid write writev
    """
}
