#include "storage/sqlite_model_store.h"

#include "storage/not_found.h"

namespace wardtune {
namespace {

// With the active vector, as long as it was trained for the bytes that are on offer.
#define MODEL_QUERY                                                                          \
  "m.id, m.sha256, m.architecture, m.parameter_count, m.context_length, v.vector, v.version" \
  " FROM base_model m LEFT JOIN security_vector v"                                           \
  " ON v.base_model = m.id AND v.state = 3 AND v.base_sha256 = m.sha256"

constexpr char kWithdrawAll[] = "UPDATE base_model SET offered = 0";
constexpr char kOfferModel[] =
    "INSERT INTO base_model (id, sha256, architecture, parameter_count, context_length, offered)"
    " VALUES (?, ?, ?, ?, ?, 1)"
    " ON CONFLICT (id) DO UPDATE SET sha256 = excluded.sha256,"
    " architecture = excluded.architecture, parameter_count = excluded.parameter_count,"
    " context_length = excluded.context_length, offered = 1";
constexpr char kGetModel[] = "SELECT " MODEL_QUERY " WHERE m.id = ? AND m.offered = 1";
constexpr char kListModels[] =
    "SELECT m.id, " MODEL_QUERY " WHERE m.id > ? AND m.offered = 1 ORDER BY m.id LIMIT ?";

BaseModelRecord ReadModel(Statement& row) {
  BaseModelRecord model;
  model.id = row.Text();
  model.sha256 = row.Text();
  model.architecture = row.Text();
  model.parameter_count = row.Int();
  model.context_length = static_cast<int32_t>(row.Int());
  model.active_vector = row.Text();
  model.active_version = row.Int();
  return model;
}

}  // namespace

absl::StatusOr<BaseModelRecord> FindBaseModel(Database& database, const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetModel, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("base model", id);
  return ReadModel(row);
}

absl::Status SqliteModelStore::OfferBaseModels(const std::vector<BaseModelRecord>& models) {
  return context_.connections->Write([&](Database& database) -> absl::Status {
    WT_RETURN_IF_ERROR(database.Run(kWithdrawAll).status());
    for (const BaseModelRecord& model : models) {
      WT_RETURN_IF_ERROR(database
                             .Run(kOfferModel, model.id, model.sha256, model.architecture,
                                  model.parameter_count, model.context_length)
                             .status());
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<BaseModelRecord> SqliteModelStore::GetBaseModel(const std::string& id) {
  return ReadWith<BaseModelRecord>(context_,
                                   [&](Database& database) { return FindBaseModel(database, id); });
}

absl::StatusOr<Page<BaseModelRecord>> SqliteModelStore::ListBaseModels(const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, "models"));
  return ReadWith<Page<BaseModelRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<BaseModelRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListModels, window.after, window.limit + 1));
        return ReadPage<BaseModelRecord>(context_, window, std::move(rows), ReadModel);
      });
}

}  // namespace wardtune
