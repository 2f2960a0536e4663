"""Security vectors by command."""

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
