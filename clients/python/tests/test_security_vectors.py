"""Security vectors by command."""

from wardtune import UnavailableError
from wardtune.v1 import security_vector_service_pb2 as vectors_pb

TRAIN = (
    *("sv", "train", "shield", "--model", "smol", "--suite", "harm"),
    *("--harmful", "tenants/provider/datasets/h", "--general", "tenants/provider/datasets/g"),
)


def test_train_leaves_the_recipe_to_the_server(wardtune, script):
    code, out, _ = wardtune(*TRAIN)
    assert (code, out) == (0, "securityVectors/shield/versions/1\n")
    (request,) = script.requests["TrainSecurityVector"]
    assert request.base_model == "baseModels/smol"
    assert request.safety_suite == "safetySuites/harm"
    recipe = request.recipe
    assert not recipe.HasField("guard_rows")
    assert not recipe.HasField("kl_weight")
    assert list(recipe.guard_refusals) == []


def test_train_passes_the_refusals_on_that_are_to_be_taught(wardtune, script):
    code, _, _ = wardtune(
        *TRAIN, "--guard-refusal", "No.", "--guard-refusal", "I will not.", "--guard-rows", "2"
    )
    assert code == 0
    (request,) = script.requests["TrainSecurityVector"]
    assert list(request.recipe.guard_refusals) == ["No.", "I will not."]
    assert request.recipe.guard_rows == 2


def test_train_without_guard_rows_says_so(wardtune, script):
    code, _, _ = wardtune(*TRAIN, "--guard-rows", "0")
    assert code == 0
    (request,) = script.requests["TrainSecurityVector"]
    assert request.recipe.HasField("guard_rows")
    assert request.recipe.guard_rows == 0


def test_cancel_says_whether_a_worker_has_still_to_stop(wardtune, script):
    name = "securityVectors/shield/versions/1"
    script.cancelled_version_state = vectors_pb.SecurityVectorVersion.STATE_TRAINING
    code, out, _ = wardtune("sv", "cancel", name)
    assert (code, out) == (0, f"{name}: its worker has been told to stop\n")
    script.cancelled_version_state = vectors_pb.SecurityVectorVersion.STATE_FAILED
    code, out, _ = wardtune("sv", "cancel", name)
    assert (code, out) == (0, f"{name} is cancelled\n")
    assert [request.name for request in script.requests["CancelSecurityVectorTraining"]] == [
        name,
        name,
    ]


# The server restarted while a vector trained, and the watch ended without its name.
def test_a_watched_training_outlasts_a_restart_of_the_server(client, script):
    unavailable = [UnavailableError.code]
    script.failures["GetSecurityVectorVersion"] = unavailable * 20
    name = "securityVectors/shield/versions/1"
    assert client.security_vectors.wait(name).name == name
