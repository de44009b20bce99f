// The kernel cache as an SQLite file in WAL mode: readers wait for nobody, and a transaction cut
// off by a kill never happened. Keys are stored as their BLAKE2b-256, whose first word is the row.
//
// Beside the file lies FILE.lock, held (flock) while the file is opened, closed or set aside:
// SQLite allows a database to be renamed only while nobody is about to open it, and closing one may
// delete the WAL that now belongs to its successor. A process that still has the old file open goes
// on with it, and finds the new one when it meets the damage itself.
#include "engine/kernel_cache.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>

#include "base/log.h"

namespace brisk {

namespace {

namespace fs = std::filesystem;
using Bytes = std::span<const std::byte>;
using Hash = std::array<std::uint64_t, 4>;

constexpr int schema_version = 1;
// Without syncing: a file half made by a power cut is damaged, and begun anew.
constexpr const char* schema = R"(
  PRAGMA synchronous=OFF;
  PRAGMA auto_vacuum=INCREMENTAL;
  PRAGMA journal_mode=WAL;
  BEGIN IMMEDIATE;
  CREATE TABLE kernel(id INTEGER PRIMARY KEY, hash BLOB, checksum INTEGER, value BLOB);
  CREATE TABLE used(id INTEGER PRIMARY KEY, time INTEGER);  -- microseconds, Unix
  PRAGMA user_version=1;
  COMMIT;)";
// NORMAL: a power cut may lose the last entries, never the file.
constexpr const char* settings =
    "PRAGMA synchronous=NORMAL; PRAGMA cell_size_check=ON; PRAGMA journal_size_limit=4194304;";

enum Sql {
  begin,
  commit,
  rollback,
  get,
  put,
  drop,
  use,
  touch,
  unuse,
  by_age,
  count,
  pages,
  free_pages,
  page_size,
  sql_count
};
constexpr std::array<const char*, sql_count> sql = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SELECT checksum, value FROM kernel WHERE id = ?1 AND hash = ?2",
    "INSERT OR REPLACE INTO kernel VALUES (?1, ?2, ?3, ?4)",
    "DELETE FROM kernel WHERE id = ?1",
    "INSERT OR REPLACE INTO used VALUES (?1, ?2)",
    "UPDATE used SET time = ?2 WHERE id = ?1 AND time NOT BETWEEN ?3 AND ?2",
    "DELETE FROM used WHERE id = ?1",
    // A time to come is of a clock that was wrong: such entries go first.
    "SELECT id FROM used ORDER BY time <= ?1, time",
    "SELECT count(*) FROM used",
    "PRAGMA page_count",
    "PRAGMA freelist_count",
    "PRAGMA page_size",
};

constexpr int patience_ms = 2000;                // for other processes' locks
constexpr std::int64_t memory_limit = 64 << 20;  // where there is no file
// A use is written down only where the last one is older: most processes then write nothing.
constexpr std::int64_t use_grain_us = 600'000'000;

std::int64_t now_us() {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

// BLAKE2b (RFC 7693) without a key, 32 bytes of digest.
constexpr std::array<std::uint64_t, 8> initial_state = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
// The words of the block that the steps of a round take.
constexpr std::uint8_t word_order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

Hash blake2b(std::string_view text) {
  std::array<std::uint64_t, 8> state = initial_state;
  state[0] ^= 0x01010000 ^ sizeof(Hash);
  std::size_t done = 0;
  do {
    const std::size_t length = std::min<std::size_t>(128, text.size() - done);
    std::array<std::uint64_t, 16> block{};
    std::copy_n(text.data() + done, length, reinterpret_cast<char*>(block.data()));
    done += length;
    std::array<std::uint64_t, 16> v;
    std::copy(state.begin(), state.end(), v.begin());
    std::copy(initial_state.begin(), initial_state.end(), v.begin() + 8);
    v[12] ^= done;
    if (done == text.size()) v[14] = ~v[14];
    const auto mix = [&v](int i, int turn, std::uint64_t x, std::uint64_t y) {
      auto &a = v[i], &b = v[4 + (i + turn) % 4];
      auto &c = v[8 + (i + 2 * turn) % 4], &d = v[12 + (i + 3 * turn) % 4];
      a += b + x;
      d = std::rotr(d ^ a, 32);
      c += d;
      b = std::rotr(b ^ c, 24);
      a += b + y;
      d = std::rotr(d ^ a, 16);
      c += d;
      b = std::rotr(b ^ c, 63);
    };
    for (int round = 0; round < 12; ++round) {
      const auto& words = word_order[round % 10];
      for (int i = 0; i < 4; ++i) mix(i, 0, block[words[2 * i]], block[words[2 * i + 1]]);
      for (int i = 0; i < 4; ++i) mix(i, 1, block[words[2 * i + 8]], block[words[2 * i + 9]]);
    }
    for (int i = 0; i < 8; ++i) state[i] ^= v[i] ^ v[8 + i];
  } while (done < text.size());
  return {state[0], state[1], state[2], state[3]};
}

// Tells a value from a damaged one, or from another key's: 16 bytes a step through a folded 128-bit
// product.
std::int64_t checksum(const Hash& hash, Bytes value) {
  std::uint64_t sum = hash[1] ^ value.size();
  for (std::size_t at = 0; at < value.size(); at += 16) {
    std::array<std::uint64_t, 2> words{};
    std::memcpy(words.data(), value.data() + at, std::min<std::size_t>(16, value.size() - at));
    __extension__ const auto product =
        static_cast<unsigned __int128>(words[0] ^ sum) * (words[1] ^ 0x9e3779b97f4a7c15);
    sum = std::rotl(sum, 23) ^ static_cast<std::uint64_t>(product) ^
          static_cast<std::uint64_t>(product >> 64);
  }
  return static_cast<std::int64_t>(sum);
}

Bytes bytes_of(const Hash& hash) { return std::as_bytes(std::span(hash)); }
std::int64_t row_of(const Hash& hash) { return static_cast<std::int64_t>(hash[0]); }

// One execution of a prepared statement; at its end the statement's locks are released.
class Run {
 public:
  template <typename... Values>
  explicit Run(sqlite3_stmt* statement, const Values&... values) : statement_(statement) {
    int index = 0;
    (bind(++index, values), ...);
    next();
  }
  ~Run() { sqlite3_reset(statement_); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void next() { status_ = sqlite3_step(statement_); }
  bool row() const { return status_ == SQLITE_ROW; }
  int status() const { return status_; }
  std::int64_t number(int column) const { return sqlite3_column_int64(statement_, column); }
  Bytes bytes(int column) const {
    const void* data = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return {static_cast<const std::byte*>(data), data ? static_cast<std::size_t>(size) : 0};
  }

 private:
  void bind(int index, std::int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  void bind(int index, Bytes value) {
    // An address even where there is no byte: without one SQLite would bind NULL.
    const void* data = value.empty() ? static_cast<const void*>("") : value.data();
    sqlite3_bind_blob64(statement_, index, data, value.size(), SQLITE_STATIC);
  }

  sqlite3_stmt* statement_;
  int status_ = SQLITE_OK;
};

// flock on FILE.lock, given up with the object or the process.
class FileLock {
 public:
  explicit FileLock(const fs::path& file) {
    if (file.empty()) return;
    descriptor_ = ::open((file.native() + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    for (int waited = 0; descriptor_ >= 0 && !held_ && waited < patience_ms; ++waited) {
      held_ = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
      if (!held_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  ~FileLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = false;
};

fs::path with_suffix(fs::path file, std::string_view suffix) { return file += suffix; }

// SQLite's name for a file that it must only read, without locks and without a WAL.
std::string immutable_uri(const fs::path& file) {
  std::string uri = "file:";
  for (const char c : file.native()) {
    const auto code = static_cast<unsigned char>(c);
    if (std::isalnum(code) || c == '/') {
      uri += c;
    } else {
      uri += fmt::format("%{:02x}", code);
    }
  }
  return uri + "?immutable=1";
}

struct Close {
  void operator()(sqlite3* handle) const { sqlite3_close(handle); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

}  // namespace

struct KernelCache::Impl {
  std::mutex mutex;
  const fs::path file;
  std::int64_t limit;  // bytes
  std::unique_ptr<sqlite3, Close> handle;
  std::array<std::unique_ptr<sqlite3_stmt, Close>, sql_count> statements;
  bool writable = false;
  bool replaced = false;                  // a damaged file was given up once already
  std::unordered_set<std::int64_t> uses;  // rows read since uses were last written down
  std::int64_t hits = 0;
  std::int64_t misses = 0;

  Impl(fs::path path, std::int64_t bytes) : file(std::move(path)), limit(bytes) {
    const FileLock lock(file);
    open(lock);
  }

  ~Impl() {
    if (!handle) return;
    sqlite3_busy_timeout(handle.get(), 0);  // uses are not worth waiting for at exit
    if (writable && !uses.empty()) transaction([&] { return write_uses(); });
    const FileLock lock(file);
    close(lock);
  }

  template <typename... Values>
  Run run(Sql which, const Values&... values) {
    return Run(statements[which].get(), values...);
  }
  std::int64_t number(Sql which) { return run(which).number(0); }

  void warn(const std::string& what) const {
    write_log(
        fmt::format("brisk: kernel cache{}{}: {}", file.empty() ? "" : " ", file.native(), what));
  }

  // Opens the file, or what comes next to it.
  void open(const FileLock& lock) {
    int status = SQLITE_CANTOPEN;
    if (lock.held()) {
      status = connect(file.native(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
      if (status == SQLITE_MISMATCH || is_damage(status)) {
        close(lock);
        if (status == SQLITE_MISMATCH ? remove() : set_aside()) {
          status = connect(file.native(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        }
      }
    }
    writable = status == SQLITE_OK;
    if (writable) return;
    const std::string reason = file.empty() ? "no home folder" : sqlite3_errstr(status);
    close(lock);
    if (!file.empty() && connect(immutable_uri(file), SQLITE_OPEN_READONLY) == SQLITE_OK) {
      warn(reason + "; it is only read");
      return;
    }
    close(lock);
    warn(reason + "; kernels are kept in memory only");
    limit = std::min(limit, memory_limit);
    writable = connect(":memory:", SQLITE_OPEN_READWRITE) == SQLITE_OK;
  }

  // SQLITE_MISMATCH: a database, but of another version.
  int connect(const std::string& name, int flags) {
    sqlite3* opened = nullptr;
    const int extra = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE;
    int status = sqlite3_open_v2(name.c_str(), &opened, flags | extra, nullptr);
    handle.reset(opened);
    if (status != SQLITE_OK) return status;
    sqlite3_busy_timeout(opened, patience_ms);
    std::int64_t version = 0;
    std::int64_t tables = 0;
    status = ask("PRAGMA user_version", version);
    if (status == SQLITE_OK) status = ask("SELECT count(*) FROM sqlite_schema", tables);
    if (status != SQLITE_OK) return status;
    if (version == 0 && tables == 0) {
      status = sqlite3_exec(opened, schema, nullptr, nullptr, nullptr);
      if (status != SQLITE_OK) return status;
    } else if (version != schema_version) {
      return SQLITE_MISMATCH;
    }
    status = sqlite3_exec(opened, settings, nullptr, nullptr, nullptr);
    for (int i = 0; i < sql_count && status == SQLITE_OK; ++i) {
      sqlite3_stmt* prepared = nullptr;
      status =
          sqlite3_prepare_v3(opened, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
      statements[i].reset(prepared);
    }
    return status;
  }

  int ask(const char* question, std::int64_t& answer) {
    sqlite3_stmt* prepared = nullptr;
    const int status = sqlite3_prepare_v2(handle.get(), question, -1, &prepared, nullptr);
    const std::unique_ptr<sqlite3_stmt, Close> statement(prepared);
    if (status != SQLITE_OK) return status;
    const Run run(prepared);
    answer = run.number(0);
    return run.row() ? SQLITE_OK : run.status();
  }

  void close(const FileLock& lock) {
    for (auto& statement : statements) statement.reset();
    // Without the lock the WAL stays where it is.
    if (handle && !lock.held())
      sqlite3_db_config(handle.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    handle.reset();
  }

  // A schema without our tables (SQLITE_ERROR) under our version is damage too.
  static bool is_damage(int status) {
    const int primary = status & 0xff;
    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR;
  }

  // These are called with the lock held and the file closed.
  void remove_wal() {
    std::error_code error;
    for (const char* suffix : {"-wal", "-shm"}) fs::remove(with_suffix(file, suffix), error);
  }

  bool remove() {
    std::error_code error;
    remove_wal();
    return fs::remove(file, error);
  }

  bool set_aside() {
    if (std::exchange(replaced, true)) return false;
    std::error_code error;
    const std::string prefix = file.filename().native() + ".corrupt-";
    // Only the last one stays, so that damaged files are bounded too.
    const fs::directory_iterator end;
    for (fs::directory_iterator at(file.parent_path(), error); !error && at != end;
         at.increment(error)) {
      const fs::path other = at->path();
      if (other.filename().native().starts_with(prefix)) fs::remove(other, error);
    }
    // The WAL goes first: cut off here, the damaged file is found without it.
    const fs::path aside = with_suffix(file, fmt::format(".corrupt-{}", now_us() / 1'000'000));
    remove_wal();
    fs::rename(file, aside, error);
    if (error) return false;
    warn(fmt::format("damaged; set aside as {} and begun anew", aside.filename().native()));
    return true;
  }

  // Takes note of how an operation ended.
  void judge(int status) {
    switch (status & 0xff) {
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB: replace(); break;
      case SQLITE_FULL:
      case SQLITE_IOERR:
      case SQLITE_READONLY:
      case SQLITE_CANTOPEN:
        if (!std::exchange(writable, false)) break;
        warn(fmt::format("{}; no more kernels are kept", sqlite3_errstr(status)));
        break;
      default: break;  // another process had its turn, or memory is short: as if nothing was asked
    }
  }

  // The open file is damaged: a new one, unless another process has begun that already.
  void replace() {
    if (!writable) return;
    const FileLock lock(file);
    if (!lock.held()) return;
    int moved = 0;
    sqlite3_file_control(handle.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    close(lock);
    uses.clear();
    if (!moved) set_aside();
    open(lock);
  }

  // All of it or nothing; SQLITE_DONE where all of it.
  template <typename Body>
  int transaction(const Body& body) {
    int status = run(begin).status();
    if (status == SQLITE_DONE) status = body();
    if (status == SQLITE_DONE) status = run(commit).status();
    if (!sqlite3_get_autocommit(handle.get())) run(rollback);
    return status;
  }

  int write_uses() {
    const std::int64_t now = now_us();
    for (const std::int64_t id : uses) {
      const int status = run(touch, id, now, now - use_grain_us).status();
      if (status != SQLITE_DONE) return status;
    }
    uses.clear();
    return SQLITE_DONE;
  }

  int erase(std::int64_t id) {
    const int status = run(drop, id).status();
    return status == SQLITE_DONE ? run(unuse, id).status() : status;
  }

  // To the limit less a sixteenth, so that it is not the next insert's turn again.
  int evict() {
    const std::int64_t most = limit / std::max<std::int64_t>(number(page_size), 512);
    const auto in_use = [&] { return number(pages) - number(free_pages); };
    if (in_use() <= most) return SQLITE_DONE;
    std::vector<std::int64_t> oldest;
    {
      Run rows = run(by_age, now_us());
      for (; rows.row(); rows.next()) oldest.push_back(rows.number(0));
      if (rows.status() != SQLITE_DONE) return rows.status();
    }
    for (std::size_t i = 0; i < oldest.size() && in_use() > most - most / 16; ++i) {
      if (const int status = erase(oldest[i]); status != SQLITE_DONE) return status;
    }
    return shrink(most);
  }

  // Gives free pages back to the file system until the file has no more than this.
  int shrink(std::int64_t most) {
    const std::int64_t excess = number(pages) - most;
    if (excess <= 0) return SQLITE_DONE;
    const std::string text = fmt::format("PRAGMA incremental_vacuum({})", excess);
    const int status = sqlite3_exec(handle.get(), text.c_str(), nullptr, nullptr, nullptr);
    return status == SQLITE_OK ? SQLITE_DONE : status;
  }

  std::optional<std::vector<std::byte>> find(const Hash& hash) {
    int status = SQLITE_OK;
    {
      const Run found = run(get, row_of(hash), bytes_of(hash));
      status = found.status();
      if (found.row()) {
        const Bytes value = found.bytes(1);
        if (checksum(hash, value) == found.number(0)) {
          uses.insert(row_of(hash));
          return std::vector<std::byte>(value.begin(), value.end());
        }
      }
    }
    if (status == SQLITE_ROW && writable) {
      log_line(1, "kernel cache: dropped a damaged entry");
      status = transaction([&] { return erase(row_of(hash)); });
    }
    judge(status);
    return std::nullopt;
  }

  int store(const Hash& hash, Bytes value) {
    const std::int64_t id = row_of(hash);
    int status = run(put, id, bytes_of(hash), checksum(hash, value), value).status();
    if (status == SQLITE_DONE) status = run(use, id, now_us()).status();
    if (status == SQLITE_DONE) status = write_uses();
    return status == SQLITE_DONE ? evict() : status;
  }
};

KernelCache::KernelCache(const fs::path& file, std::int64_t limit_bytes) {
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  impl_ = std::make_unique<Impl>(file.empty() ? file : fs::absolute(file, error), limit_bytes);
}

KernelCache::~KernelCache() = default;

KernelCache& KernelCache::shared() {
  const auto file = [] {
    return options().cache.empty() ? fs::path() : fs::path(options().cache) / "kernels.db";
  };
  static KernelCache cache(file(), options().cache_limit_mb << 20);
  return cache;
}

std::optional<std::vector<std::byte>> KernelCache::find(std::string_view key) {
  const Hash hash = blake2b(key);
  const std::lock_guard guard(impl_->mutex);
  std::optional<std::vector<std::byte>> value;
  try {
    value = impl_->find(hash);
  } catch (const std::exception&) {
    value.reset();  // memory is short: a miss, and whoever makes the value anew will say so
  }
  ++(value ? impl_->hits : impl_->misses);
  return value;
}

void KernelCache::insert(std::string_view key, Bytes value) {
  const Hash hash = blake2b(key);
  const std::lock_guard guard(impl_->mutex);
  if (!impl_->writable || static_cast<std::int64_t>(value.size()) > impl_->limit / 2) return;
  try {
    impl_->judge(impl_->transaction([&] { return impl_->store(hash, value); }));
  } catch (const std::exception&) {
    impl_->run(rollback);
  }
}

KernelCache::Statistics KernelCache::statistics() {
  const std::lock_guard guard(impl_->mutex);
  Impl& impl = *impl_;
  return {impl.hits, impl.misses, impl.number(count),
          (impl.number(pages) - impl.number(free_pages)) * impl.number(page_size)};
}

void KernelCache::clear() {
  const std::lock_guard guard(impl_->mutex);
  Impl& impl = *impl_;
  if (!impl.writable) return;
  impl.uses.clear();
  const auto run = [&](const char* text) {
    return sqlite3_exec(impl.handle.get(), text, nullptr, nullptr, nullptr);
  };
  const int status = impl.transaction([&] {
    const int deleted = run("DELETE FROM kernel; DELETE FROM used");
    return deleted == SQLITE_OK ? impl.shrink(0) : deleted;
  });
  if (status == SQLITE_DONE) run("PRAGMA wal_checkpoint(TRUNCATE)");
  impl.judge(status);
}

}  // namespace brisk
